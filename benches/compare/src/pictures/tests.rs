use std::collections::HashMap;

use roxmltree::{Document, Node};

use super::*;
use crate::figures::samples::{figures, measured, sample};
use crate::plan::{AXUM, Condition, HANDSHAKES, Load, OVER_TLS};

/// Both pictures, as they are written.
fn pictures(figures: &Figures) -> HashMap<&'static str, String> {
    let all = [
        ("throughput", throughput::picture(figures)),
        ("memory", memory::picture(figures)),
    ];
    let drawn = all.into_iter().filter_map(|(name, picture)| {
        let picture = picture?.finish(figures, &format!("{name}.svg"));
        Some((name, picture))
    });
    drawn.collect()
}

/// All elements with this name.
fn elements<'a>(document: &'a Document, name: &'static str) -> Vec<Node<'a, 'a>> {
    let is_one = |node: &Node| node.has_tag_name(("http://www.w3.org/2000/svg", name));
    document.descendants().filter(is_one).collect()
}

fn of_class<'a>(document: &'a Document, name: &'static str, class: &str) -> Vec<Node<'a, 'a>> {
    let classes = |node: &Node| node.attribute("class").unwrap_or_default().to_owned();
    let all = elements(document, name).into_iter();
    all.filter(|node| classes(node).split(' ').any(|one| one == class))
        .collect()
}

fn float(node: &Node, attribute: &str) -> f64 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

/// The places that a path goes through.
fn places(path: &Node) -> Vec<(f64, f64)> {
    let d = path.attribute("d").unwrap();
    let is_command = |c: char| c.is_ascii_alphabetic();
    let mut places = Vec::new();
    let (mut x, mut y) = (0.0, 0.0);
    let commands: Vec<usize> = d.match_indices(is_command).map(|(at, _)| at).collect();
    for (at, &start) in commands.iter().enumerate() {
        let end = commands.get(at + 1).copied().unwrap_or(d.len());
        let numbers = d[start + 1..end].split_whitespace();
        let numbers: Vec<f64> = numbers.map(|number| number.parse().unwrap()).collect();
        match &d[start..=start] {
            "M" | "L" => (x, y) = (numbers[0], numbers[1]),
            "H" => x = numbers[0],
            "V" => y = numbers[0],
            "h" => x += numbers[0],
            "v" => y += numbers[0],
            "a" => (x, y) = (x + numbers[5], y + numbers[6]),
            "z" => {}
            other => panic!("{other} in {d}"),
        }
        places.push((x, y));
    }
    places
}

/// What any picture must keep, whatever the figures.
fn assert_sound(text: &str, figures: &Figures) {
    let document = Document::parse(text).unwrap();
    let root = document.root_element();
    assert_eq!(root.attribute("role"), Some("img"));
    let labels = root.attribute("aria-labelledby").unwrap().split(' ');
    let described = [
        elements(&document, "title")[0],
        elements(&document, "desc")[0],
    ];
    let ids: Vec<_> = described
        .iter()
        .map(|node| node.attribute("id").unwrap())
        .collect();
    assert_eq!(labels.collect::<Vec<_>>(), ids);
    for node in described {
        assert!(!node.text().unwrap().is_empty(), "{text}");
    }
    for wrong in ["NaN", "inf"] {
        assert!(!text.contains(wrong), "{text}");
    }
    let (width, height) = (float(&root, "width"), float(&root, "height"));
    assert_eq!(width, WIDTH);
    for path in elements(&document, "path") {
        for (x, y) in places(&path) {
            let is_inside = (0.0..=width).contains(&x) && (0.0..=height).contains(&y);
            assert!(is_inside, "{path:?}");
        }
    }
    for node in elements(&document, "text") {
        let length = node.text().unwrap().chars().count() as f64 * NOTE_CHARACTER;
        let (x, y) = (float(&node, "x"), float(&node, "y"));
        let (left, right) = match node.attribute("text-anchor") {
            Some("end") => (x - length, x),
            Some("middle") => (x - length / 2.0, x + length / 2.0),
            _ => (x, x + length),
        };
        assert!(left >= 0.0 && right <= width, "{:?}", node.text());
        assert!((0.0..height).contains(&y), "{:?}", node.text());
    }
    assert!(text.contains(&figures.machine.cpu), "{text}");
}

#[test]
fn every_server_is_named_in_the_picture_and_in_its_words() {
    let figures = figures();
    let pictures = pictures(&figures);
    assert_eq!(pictures.len(), 2);
    for (name, text) in &pictures {
        assert_sound(text, &figures);
        let document = Document::parse(text).unwrap();
        let words = elements(&document, "desc")[0].text().unwrap();
        for server in ["postern", "axum", "tiny_http", "nginx", "flask"] {
            let is_named = |node: &Node| node.text().unwrap().starts_with(server);
            let texts = elements(&document, "text");
            assert!(texts.iter().any(is_named), "{server} in {name}");
            assert!(words.contains(server), "{server} in {words}");
        }
    }
    let words = &pictures["throughput"];
    assert!(words.contains("Public: postern 200,000 (190,000 to 210,000), axum 125,000 "));
    assert!(pictures["memory"].contains("postern: 2.3 MiB (2.2 to 2.4) with 1 connection, "));
}

#[test]
fn bars_are_as_long_as_their_medians_and_whiskers_reach_both_ends() {
    let figures = figures();
    let text = &pictures(&figures)["throughput"];
    let document = Document::parse(text).unwrap();
    let bars = of_class(&document, "path", "bar");
    let whiskers = of_class(&document, "path", "whisker");
    assert_eq!(bars.len(), whiskers.len());
    let ends = |path: &Node| {
        let all = places(path).into_iter().map(|(x, _)| x);
        (
            all.clone().fold(f64::MAX, f64::min),
            all.fold(0.0, f64::max),
        )
    };
    let (start, end) = ends(&bars[0]);
    let (low, high) = ends(&whiskers[0]);
    // 190,000, 200,000 and 210,000 per second.
    let per_pixel = 200_000.0 / (end - start);
    assert!(((end - low) * per_pixel - 10_000.0).abs() < 200.0);
    assert!(((high - end) * per_pixel - 10_000.0).abs() < 200.0);
    for ((bar, whisker), value) in bars
        .iter()
        .zip(&whiskers)
        .zip(of_class(&document, "text", "value"))
    {
        let ((start, end), (low, high)) = (ends(bar), ends(whisker));
        assert!(start <= low && low <= end + 0.1 && end <= high.max(start + 1.0) + 0.1);
        // The value stands clear of both.
        assert!(float(&value, "x") >= high + 5.0);
    }
}

#[test]
fn whiskers_of_memory_are_inside_of_the_plot_and_labels_apart() {
    let figures = figures();
    let text = &pictures(&figures)["memory"];
    let document = Document::parse(text).unwrap();
    let grid = of_class(&document, "path", "grid");
    let heights = grid
        .iter()
        .filter(|path| !path.attribute("d").unwrap().contains('v'));
    let heights: Vec<f64> = heights.map(|path| places(path)[0].1).collect();
    let (top, bottom) = (heights.iter().copied().fold(f64::MAX, f64::min), heights[0]);
    let whiskers = of_class(&document, "path", "whisker");
    assert_eq!(whiskers.len(), 5 * 4);
    for (_, y) in whiskers.iter().flat_map(places) {
        assert!((top..=bottom).contains(&y), "{y} not in {top} to {bottom}");
    }
    let mut labels: Vec<f64> = of_class(&document, "text", "value")
        .iter()
        .map(|node| float(node, "y"))
        .collect();
    labels.sort_by(f64::total_cmp);
    assert_eq!(labels.len(), 5);
    assert!(
        labels.windows(2).all(|pair| pair[1] - pair[0] >= 16.9),
        "{labels:?}"
    );
}

#[test]
fn the_same_figures_make_the_same_bytes() {
    let figures = figures();
    let again: Figures = serde_json::from_str(&figures.text()).unwrap();
    assert!(again == figures);
    assert!(pictures(&again) == pictures(&figures));
}

#[test]
fn odd_figures_make_sound_pictures() {
    let mut odd = figures();
    odd.machine.cpu = "Some & Sons <CPU> ".repeat(8);
    odd.rounds = 1;
    for (name, rate, mib) in [
        ("a <b> & \"c\" \u{1b}[31m\u{ffff}", 0.0, 0.0),
        (
            "a name that is longer than any column has room for",
            9e9,
            9e6,
        ),
    ] {
        let mut one = measured(Server::postern(1), KEPT, Load::Warm, rate, mib);
        one.name = name.to_owned();
        one.samples.truncate(1);
        odd.measured.push(one);
    }
    let found = pictures(&odd);
    assert_eq!(found.len(), 2);
    for text in found.values() {
        let document = Document::parse(text).unwrap();
        let words = elements(&document, "desc")[0].text().unwrap();
        assert!(
            words.contains("a <b> & \"c\" \u{fffd}[31m\u{fffd}"),
            "{words}"
        );
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
    // One point is a picture, too.
    odd.measured = vec![measured(AXUM, KEPT, Load::Warm, 1.0, 1.0)];
    odd.measured[0].samples.fill(sample(0.0, 1.0));
    for text in pictures(&odd).values() {
        Document::parse(text).unwrap();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}

#[test]
fn what_was_not_measured_is_not_drawn() {
    let mut figures = figures();
    figures.measured.retain(|one| one.condition == HANDSHAKES);
    let text = pictures(&figures);
    assert_eq!(text.keys().collect::<Vec<_>>(), [&"throughput"]);
    let text = &text["throughput"];
    assert!(text.contains(">TLS 1.3 handshakes per second, by server</title>"));
    assert!(!text.contains("Requests"));
    figures.measured[0].condition.logs = crate::plan::Logs::Requests;
    figures.measured.truncate(1);
    assert!(pictures(&figures).is_empty());
}

#[test]
fn a_machine_that_was_not_quiet_is_named() {
    let mut figures = figures();
    assert!(!pictures(&figures)["memory"].contains("not quiet"));
    let samples = figures.measured.iter_mut().flat_map(|one| &mut one.samples);
    samples.for_each(|sample| sample.others = 0.22);
    for text in pictures(&figures).values() {
        let says = text.contains("not quiet: others had 22 % of its CPU time");
        assert!(says, "{text}");
    }
}

#[test]
fn colours_have_contrast_on_both_grounds() {
    let channel = |hex: &str| {
        let value = f64::from(u8::from_str_radix(hex, 16).unwrap()) / 255.0;
        match value <= 0.04045 {
            true => value / 12.92,
            false => ((value + 0.055) / 1.055).powf(2.4),
        }
    };
    let luminance = |colour: &str| {
        let part = |at: usize| channel(&colour[at..at + 2]);
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let contrast = |a: &str, b: &str| {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    };
    let ground = COLOURS.iter().find(|entry| entry.0 == "@ground").unwrap();
    for (name, light, dark) in COLOURS {
        let least = match name {
            "@ink" | "@faint" | "@warning" => 4.5,
            // Only lines that help the eye.
            "@ground" | "@rule" => continue,
            _ => 3.0,
        };
        let found = (contrast(light, ground.1), contrast(dark, ground.2));
        assert!(found.0 >= least && found.1 >= least, "{name}: {found:?}");
    }
    // No name is left where a colour should be.
    assert_eq!(style().matches('@').count(), 1, "{}", style());
}

const KEPT: Condition = Condition::with(64);

#[test]
fn groups_have_titles_that_tell_them_apart() {
    let text = &pictures(&figures())["throughput"];
    let document = Document::parse(text).unwrap();
    let titles = of_class(&document, "text", "group");
    let titles: Vec<_> = titles.iter().map(|node| node.text().unwrap()).collect();
    let expected = [
        "Public",
        "Protected, the same token",
        "Protected, 1,000 tokens in turn",
        "Protected, 20,000 tokens in turn",
        "Public, a connection each",
        "Protected, a connection each",
        "Protected, over TLS",
        "Full",
        "Resumed",
    ];
    assert_eq!(titles, expected);
    assert_eq!(
        figures()
            .measured
            .iter()
            .filter(|one| one.condition == OVER_TLS)
            .count(),
        2
    );
}

#[test]
fn labels_move_apart_around_their_places() {
    let close = |found: Vec<f64>, expected: &[f64]| {
        let far = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-9;
        let is_far = found.len() != expected.len() || found.iter().zip(expected).any(far);
        assert!(!is_far, "{found:?}, not {expected:?}");
    };
    close(memory::apart(&[]), &[]);
    close(memory::apart(&[10.0, 27.0, 90.0]), &[10.0, 27.0, 90.0]);
    close(memory::apart(&[50.0, 50.0]), &[41.5, 58.5]);
    close(memory::apart(&[49.0, 50.0, 51.0]), &[33.0, 50.0, 67.0]);
    // What is moved pushes the next ones, and is pushed back.
    close(
        memory::apart(&[30.0, 50.0, 50.0]),
        &[26.0 + 1.0 / 3.0, 43.0 + 1.0 / 3.0, 60.0 + 1.0 / 3.0],
    );
}
