//! Reads the Prometheus text format 0.0.4, and insists on each of its rules. It shares no code with
//! the server.

use std::collections::{BTreeMap, BTreeSet};

/// What a server exposes.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Names and types of the families, in their order.
    pub families: Vec<(String, String)>,
    /// The values of the samples. The key is the name with the labels, as printed.
    pub samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads a whole exposition; panics if it breaks a rule.
    #[track_caller]
    pub fn parse(text: &str) -> Metrics {
        assert!(text.ends_with('\n'), "the last line does not end");
        let mut metrics = Metrics::default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ");
            let (name, help) = help
                .and_then(|rest| rest.split_once(' '))
                .unwrap_or_else(|| panic!("{line:?} is no HELP of a family"));
            assert!(is_name(name), "{line}");
            assert!(!help.is_empty() && is_escaped(help, "\\n"), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (named, kind) = kind.unwrap().split_once(' ').unwrap();
            assert_eq!(named, name, "HELP and TYPE are of one family");
            let known = metrics.families.iter().any(|(other, _)| other == name);
            assert!(!known, "{name} begins twice");
            metrics.families.push((name.to_owned(), kind.to_owned()));
            let mut samples = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                samples.push(Sample::parse(line));
            }
            assert!(!samples.is_empty(), "{name} has no samples");
            check(name, kind, &samples);
            for sample in samples {
                let old = metrics.samples.insert(sample.series.clone(), sample.value);
                assert_eq!(old, None, "{} is there twice", sample.series);
            }
        }
        metrics
    }

    /// The value of a series, named as it is printed; 0 if it is not there.
    pub fn get(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or(0.0)
    }

    /// Whether there is such a family.
    pub fn has_family(&self, name: &str) -> bool {
        self.families.iter().any(|(family, _)| family == name)
    }

    /// How many requests of a route were answered with a status.
    pub fn requests(&self, route: &str, status: u16) -> f64 {
        self.get(&format!(
            "postern_http_requests_total{{route=\"{route}\",status=\"{status}\"}}"
        ))
    }

    /// How many requests were refused for a reason.
    pub fn refusals(&self, reason: &str) -> f64 {
        let series = format!("postern_http_refusals_total{{reason=\"{reason}\"}}");
        assert!(self.samples.contains_key(&series), "no {series}");
        self.get(&series)
    }

    /// All values of a label.
    pub fn label_values(&self, label: &str) -> BTreeSet<&str> {
        let begin = format!("{label}=\"");
        let value = |series: &'_ str| -> Option<(usize, usize)> {
            let at = series.find(&begin)? + begin.len();
            Some((at, at + series[at..].find('"')?))
        };
        let found = self.samples.keys().filter_map(|series| {
            let (from, to) = value(series)?;
            Some(&series[from..to])
        });
        found.collect()
    }
}

struct Sample {
    series: String,
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    #[track_caller]
    fn parse(line: &str) -> Sample {
        let end = line.rfind(' ').unwrap_or_else(|| panic!("{line}"));
        let (series, value) = (&line[..end], &line[end + 1..]);
        let (name, labels) = match series.split_once('{') {
            None => (series, Vec::new()),
            Some((name, labels)) => (name, parse_labels(labels)),
        };
        assert!(is_name(name), "{line}");
        let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), labels.len(), "a label is there twice: {line}");
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().unwrap_or_else(|_| panic!("{line}")),
        };
        Sample {
            series: series.to_owned(),
            name: name.to_owned(),
            labels,
            value,
        }
    }
}

/// What follows the brace.
fn parse_labels(mut text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    loop {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        assert!(is_name(name) && !name.contains(':'), "{name}");
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let (value, rest) = rest.split_at(end.unwrap_or_else(|| panic!("{text}")));
        assert!(is_escaped(value, "\\n\""), "{value}");
        labels.push((name.to_owned(), value.to_owned()));
        match &rest[1..] {
            "}" => return labels,
            more => text = more.strip_prefix(',').unwrap_or_else(|| panic!("{text}")),
        }
    }
}

/// Checks the samples of a family.
#[track_caller]
fn check(name: &str, kind: &str, samples: &[Sample]) {
    match kind {
        "gauge" => samples.iter().for_each(|s| assert_eq!(s.name, name)),
        "counter" => {
            assert!(name.ends_with("_total"), "{name}");
            for sample in samples {
                assert_eq!(sample.name, name);
                assert!(sample.value >= 0.0, "{}", sample.series);
            }
        }
        "histogram" => check_histogram(name, samples),
        other => panic!("{name} is a {other}"),
    }
}

#[track_caller]
fn check_histogram(name: &str, samples: &[Sample]) {
    let (buckets, end) = samples.split_at(samples.len() - 2);
    let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
    for bucket in buckets {
        assert_eq!(bucket.name, format!("{name}_bucket"));
        let [(label, text)] = &bucket.labels[..] else {
            panic!("{}", bucket.series);
        };
        assert_eq!(label, "le");
        let next = match text.as_str() {
            "+Inf" => f64::INFINITY,
            number => number.parse().unwrap(),
        };
        assert!(next > bound && bucket.value >= count, "{}", bucket.series);
        (bound, count) = (next, bucket.value);
    }
    assert_eq!(bound, f64::INFINITY, "{name}");
    assert_eq!(end[0].series, format!("{name}_sum"));
    assert_eq!(end[1].series, format!("{name}_count"));
    assert_eq!(end[1].value, count, "{name}");
}

fn is_name(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

/// Whether each backslash escapes one of these.
fn is_escaped(text: &str, escapable: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && !chars.next().is_some_and(|c| escapable.contains(c)) {
            return false;
        }
    }
    true
}
