//! Memory over connections, as a line for each server.

use super::{MARGIN, Picture, WIDTH, number, short};
use crate::figures::{Figures, MIB, Measured, Spread};
use crate::plan::{Load, Logs, NGINX, Server};

/// The edges of the plot.
const LEFT: f64 = MARGIN + 46.0;
const RIGHT: f64 = WIDTH - 156.0;
const HEIGHT: f64 = 250.0;
/// How far the first and the last number of connections are from the edges.
const INSET: f64 = 20.0;
/// From a label to the next one, at least.
const LABEL: f64 = 17.0;
/// Half the size of a mark.
const MARK: f64 = 5.0;
/// The least that is shown, in MiB.
const LEAST: f64 = 0.25;
/// Half the length of a whisker's ends.
const CAP: f64 = 3.5;

/// What a server has taken, by connections.
struct Series<'a> {
    name: &'a str,
    server: Server,
    points: Vec<(usize, Spread)>,
}

/// From figures to places.
struct Scale {
    top: f64,
    connections: Vec<usize>,
    /// The logarithms to base 2 of the least and of the most, in MiB: whole numbers.
    least: f64,
    most: f64,
}

/// Nothing if none of it was measured.
pub fn picture(figures: &Figures) -> Option<Picture> {
    let all = series(figures);
    let points = || all.iter().flat_map(|series| &series.points);
    let mut connections: Vec<usize> = points().map(|(connections, _)| *connections).collect();
    connections.sort_unstable();
    connections.dedup();
    let least = points()
        .map(|(_, s)| s.lowest.log2().floor())
        .reduce(f64::min)?;
    let most = points()
        .map(|(_, s)| s.highest.log2().ceil())
        .reduce(f64::max)?;
    let mut picture = Picture::new("Memory over connections");
    let text = "Resident memory in MiB, under load; each line has twice that of the one below";
    picture.text("note", "start", (MARGIN, picture.height + 2.0), text);
    let scale = Scale {
        top: picture.height + 20.0,
        connections,
        least,
        most: most.max(least + 1.0),
    };
    put_axes(&mut picture, &scale);
    for series in &all {
        put_series(&mut picture, series, &scale);
    }
    put_labels(&mut picture, &all, &scale);
    picture.height = scale.top + HEIGHT + 40.0;
    picture.words.push(text.replace("; each", ". Each") + ".");
    let note = "Protected message, the same token. The sum over a server's processes; pages that \
                they share count for each.";
    picture.notes.push(note.to_owned());
    if all.iter().any(|series| series.server == NGINX) {
        let note = "nginx sends a fixed answer and looks at no token.";
        picture.notes.push(note.to_owned());
    }
    picture.words.extend(all.iter().map(words));
    Some(picture)
}

/// The warm load over kept connections, with no line per request.
fn series(figures: &Figures) -> Vec<Series<'_>> {
    let mut all: Vec<Series> = Vec::new();
    let belongs = |one: &&Measured| {
        let condition = one.condition;
        !condition.close
            && !condition.tls
            && condition.logs == Logs::Warnings
            && one.load == Load::Warm
            && !matches!(one.server, Server::Postern { large_cache, .. } if large_cache)
    };
    for one in figures.measured.iter().filter(belongs) {
        let point = (
            one.condition.connections,
            one.spread(|s| (s.resident / MIB).max(LEAST)),
        );
        match all.iter_mut().find(|series| series.server == one.server) {
            Some(series) => series.points.push(point),
            None => all.push(Series {
                name: &one.name,
                server: one.server,
                points: vec![point],
            }),
        }
    }
    for series in &mut all {
        series.points.sort_by_key(|(connections, _)| *connections);
    }
    all
}

impl Scale {
    /// Logarithmic: from 1 to 8 is as far as from 8 to 64.
    fn x(&self, connections: usize) -> f64 {
        let log = |connections: usize| (connections.max(1) as f64).log2();
        let (first, last) = (
            log(self.connections[0]),
            log(*self.connections.last().unwrap_or(&1)),
        );
        let part = match last > first {
            true => (log(connections) - first) / (last - first),
            false => 0.5,
        };
        LEFT + INSET + part * (RIGHT - LEFT - 2.0 * INSET)
    }

    fn y(&self, mib: f64) -> f64 {
        self.top + HEIGHT * (self.most - mib.log2()) / (self.most - self.least)
    }
}

fn put_axes(picture: &mut Picture, scale: &Scale) {
    for power in scale.least as i32..=scale.most as i32 {
        let mib = f64::from(power).exp2();
        let y = scale.y(mib);
        let line = format!("M{} {}H{}", number(LEFT), number(y), number(RIGHT));
        picture.path("grid", line);
        picture.text("tick", "end", (LEFT - 8.0, y + 4.5), &mib.to_string());
    }
    let bottom = scale.top + HEIGHT;
    for &connections in &scale.connections {
        let x = scale.x(connections);
        picture.path("grid", format!("M{} {}v5", number(x), number(bottom)));
        picture.text(
            "tick",
            "middle",
            (x, bottom + 19.0),
            &connections.to_string(),
        );
    }
    let middle = (LEFT + RIGHT) / 2.0;
    picture.text("note", "middle", (middle, bottom + 37.0), "connections");
}

/// Which form and which colour a server has, whatever others there are.
fn place(server: Server) -> usize {
    match server {
        Server::Postern { build, .. } => 5 * build,
        Server::Other(other) => 1 + other as usize,
    }
}

/// How a line and its marks are drawn.
fn class(place: usize) -> String {
    match place {
        0 => "own".to_owned(),
        _ => format!("s{}", (place + 3) % 4),
    }
}

fn put_series(picture: &mut Picture, series: &Series, scale: &Scale) {
    let at = place(series.server);
    let class = class(at);
    let places: Vec<(f64, f64)> = series
        .points
        .iter()
        .map(|(connections, spread)| (scale.x(*connections), scale.y(spread.median)))
        .collect();
    if places.len() > 1 {
        let steps = places
            .iter()
            .map(|(x, y)| format!("{} {}", number(*x), number(*y)));
        let path = format!("M{}", steps.collect::<Vec<_>>().join("L"));
        picture.path(&format!("line {class}"), path);
    }
    for ((x, y), (_, spread)) in places.iter().zip(&series.points) {
        picture.path(&format!("mark {class}"), mark(at, *x, *y));
        let (low, high) = (
            number(scale.y(spread.lowest)),
            number(scale.y(spread.highest)),
        );
        let (left, wide) = (number(x - CAP), number(2.0 * CAP));
        let whisker = format!(
            "M{} {low}V{high}M{left} {low}h{wide}M{left} {high}h{wide}",
            number(*x)
        );
        picture.path("whisker", whisker);
    }
}

/// A mark of a form that tells servers apart: circle, square, triangle, diamond, and the triangle
/// upside down.
fn mark(at: usize, x: f64, y: f64) -> String {
    let corners: &[(f64, f64)] = match at % 5 {
        0 => {
            let (x, y, r) = (number(x - MARK), number(y), number(MARK));
            let d = number(2.0 * MARK);
            return format!("M{x} {y}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0z");
        }
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
        3 => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        _ => &[(0.0, 1.1), (1.1, -0.9), (-1.1, -0.9)],
    };
    let corners = corners
        .iter()
        .map(|(dx, dy)| format!("{} {}", number(x + MARK * dx), number(y + MARK * dy)));
    format!("M{}z", corners.collect::<Vec<_>>().join("L"))
}

/// Each line has its server's name and its last value at its end.
fn put_labels(picture: &mut Picture, all: &[Series], scale: &Scale) {
    let mut labels: Vec<(f64, f64, &Series, Spread)> = Vec::new();
    for series in all {
        let (connections, spread) = series.points[series.points.len() - 1];
        let (x, y) = (scale.x(connections), scale.y(spread.median));
        labels.push((x, y, series, spread));
    }
    labels.sort_by(|a, b| a.1.total_cmp(&b.1));
    let wanted: Vec<f64> = labels.iter().map(|label| label.1).collect();
    for (label, y) in labels.iter_mut().zip(apart(&wanted)) {
        label.1 = y;
    }
    for (x, y, series, spread) in labels {
        let own = matches!(series.server, Server::Postern { .. });
        let class = if own { "value first" } else { "value" };
        let text = format!("{} {:.1} MiB", short(series.name), spread.median);
        picture.text(class, "start", (x + 12.0, y + 4.5), &text);
    }
}

/// These places, in their order, moved apart as little as that takes: where labels would overlap,
/// they stand around the middle of what they belong to.
pub fn apart(wanted: &[f64]) -> Vec<f64> {
    // Middle and number of labels that touch.
    let mut heaps: Vec<(f64, f64)> = Vec::new();
    for &place in wanted {
        let (mut middle, mut count) = (place, 1.0);
        while let Some(&(above, labels)) = heaps.last()
            && middle - above < LABEL * (count + labels) / 2.0
        {
            // Each label pulls the heap towards its own place.
            let upper = above + count * LABEL / 2.0;
            let lower = middle - labels * LABEL / 2.0;
            middle = (upper * labels + lower * count) / (labels + count);
            count += labels;
            heaps.pop();
        }
        heaps.push((middle, count));
    }
    let places = heaps.into_iter().flat_map(|(middle, count)| {
        let first = middle - LABEL * (count - 1.0) / 2.0;
        (0..count as usize).map(move |at| first + at as f64 * LABEL)
    });
    places.collect()
}

fn words(series: &Series) -> String {
    let point = |(connections, spread): &(usize, Spread)| {
        let plural = if *connections == 1 { "" } else { "s" };
        let [lowest, median, highest] =
            [spread.lowest, spread.median, spread.highest].map(|mib| format!("{mib:.1}"));
        let with = format!("with {connections} connection{plural}");
        format!("{median} MiB ({lowest} to {highest}) {with}")
    };
    let points: Vec<String> = series.points.iter().map(point).collect();
    format!("{}: {}.", series.name, points.join(", "))
}
