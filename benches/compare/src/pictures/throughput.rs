//! Requests per second, as bars: a group for each load, in two columns.

use super::{BOLD_CHARACTER, CHARACTER, MARGIN, Picture, WIDTH, class, number, short};
use crate::figures::{Figures, Measured, Spread, thousands};
use crate::plan::{Condition, Load, Logs, NGINX, Server};

/// Between the columns.
const GAP: f64 = 24.0;
const COLUMN: f64 = (WIDTH - 2.0 * MARGIN - GAP) / 2.0;
/// From a bar to the next.
const ROW: f64 = 19.0;
const BAR: f64 = 12.0;
/// What a group's title takes, and what is free below a group.
const HEAD: f64 = 22.0;
const FOOT: f64 = 10.0;
/// How long a whisker's ends are.
const CAP: f64 = 6.0;
/// What a value takes.
const VALUE: f64 = 62.0;

/// The bars of a load.
struct Group<'a> {
    title: String,
    bars: Vec<(&'a Measured, Spread)>,
}

/// Nothing if none of it was measured.
pub fn picture(figures: &Figures) -> Option<Picture> {
    let (handshakes, requests): (Vec<Group>, Vec<Group>) = groups(figures)
        .into_iter()
        .partition(|group| group.bars[0].0.load.is_handshakes());
    let mut picture = Picture::new(match requests.is_empty() {
        false => "Requests per second, by server and load",
        true => "TLS 1.3 handshakes per second, by server",
    });
    let all = || requests.iter().chain(&handshakes).flat_map(|g| &g.bars);
    let name = |(one, _): &(&Measured, Spread)| {
        let each = match class(one.server) {
            "own" => BOLD_CHARACTER,
            _ => CHARACTER,
        };
        short(&one.name).chars().count() as f64 * each
    };
    let names = all().map(name).reduce(f64::max)? + 6.0;
    put_groups(&mut picture, &requests, names);
    if !requests.is_empty() && !handshakes.is_empty() {
        let text = "TLS 1.3 handshakes per second, on a scale of their own";
        picture.height += 22.0;
        picture.text("title", "start", (MARGIN, picture.height), text);
        picture.height += 16.0;
    }
    put_groups(&mut picture, &handshakes, names);
    let connections = match (requests.is_empty(), handshakes.is_empty()) {
        (false, true) => "64 connections at once.",
        (false, false) => "64 connections at once, 16 for handshakes.",
        (true, _) => "16 connections at once.",
    };
    let mut note = connections.to_owned();
    if all().any(|(one, _)| one.server == NGINX) {
        note += " nginx (dashed) sends a fixed answer and looks at no token.";
    }
    picture.notes.push(note);
    Some(picture)
}

/// The loads with the usual number of connections and no line per request.
fn groups(figures: &Figures) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for load in Load::ALL {
        for (close, tls) in [(false, false), (true, false), (false, true), (true, true)] {
            let belongs = |one: &&Measured| {
                let condition = one.condition;
                (condition.close, condition.tls) == (close, tls)
                    && (condition.connections == 64 || load.is_handshakes())
                    && condition.logs == Logs::Warnings
                    && one.load == load
                    && !matches!(one.server, Server::Postern { large_cache, .. } if large_cache)
            };
            let bars = figures.measured.iter().filter(belongs);
            let bars: Vec<_> = bars
                .map(|one| (one, one.spread(|s| s.per_second)))
                .collect();
            if let Some((one, _)) = bars.first() {
                let title = title(one.condition, load);
                groups.push(Group { title, bars });
            }
        }
    }
    // Those to be compared with each other in a row: kept connections before others.
    groups.sort_by_key(|group| {
        let condition = group.bars[0].0.condition;
        (condition.tls, condition.close)
    });
    groups
}

fn title(condition: Condition, load: Load) -> String {
    let what = match load {
        Load::Public => "Public",
        Load::Warm => "Protected, the same token",
        Load::Many => "Protected, 1,000 tokens in turn",
        Load::Cold => "Protected, 20,000 tokens in turn",
        Load::FullHandshakes => return "Full".to_owned(),
        Load::ResumedHandshakes => return "Resumed".to_owned(),
    };
    let how = match (condition.close, condition.tls) {
        (false, false) => return what.to_owned(),
        (true, false) => "a connection each",
        (false, true) => "over TLS",
        (true, true) => "a TLS connection each",
    };
    let what = what.split(", the").next().unwrap_or(what);
    format!("{what}, {how}")
}

fn put_groups(picture: &mut Picture, groups: &[Group], names: f64) {
    let highest = groups.iter().flat_map(|group| &group.bars);
    let highest = highest
        .map(|(_, spread)| spread.highest)
        .fold(0.0, f64::max);
    // Requests per pixel.
    let scale = highest.max(1.0) / (COLUMN - names - VALUE);
    for pair in groups.chunks(2) {
        let top = picture.height;
        for (at, group) in pair.iter().enumerate() {
            let left = MARGIN + at as f64 * (COLUMN + GAP);
            put_group(picture, group, (left, top), (names, scale));
        }
        let rows = pair.iter().map(|group| group.bars.len()).max();
        picture.height = top + HEAD + rows.unwrap_or_default() as f64 * ROW + FOOT;
    }
}

fn put_group(
    picture: &mut Picture,
    group: &Group,
    (left, top): (f64, f64),
    (names, scale): (f64, f64),
) {
    picture.text("group", "start", (left, top + 13.0), &group.title);
    for (at, (one, spread)) in group.bars.iter().enumerate() {
        let middle = top + HEAD + (at as f64 + 0.5) * ROW;
        put_bar(picture, one, spread, (left + names, middle), scale);
    }
    let of_what = match group.bars[0].0.load.is_handshakes() {
        true => " TLS handshakes",
        false => "",
    };
    let words: Vec<String> = group.bars.iter().map(words).collect();
    let (title, words) = (&group.title, words.join(", "));
    picture.words.push(format!("{title}{of_what}: {words}."));
}

/// A bar that starts at this place, its whisker, and on its sides name and value.
fn put_bar(
    picture: &mut Picture,
    one: &Measured,
    spread: &Spread,
    (start, middle): (f64, f64),
    scale: f64,
) {
    let class = class(one.server);
    let (name, value) = match class {
        "own" => ("first", "value first"),
        _ => ("", "value"),
    };
    let line = middle + 4.5;
    picture.text(name, "end", (start - 6.0, line), &short(&one.name));
    let place = |rate: f64| start + rate / scale;
    // One of a few requests is seen, too.
    let end = number(place(spread.median).max(start + 1.0));
    let (left, upper, bar) = (number(start), number(middle - BAR / 2.0), number(BAR));
    let path = format!("M{left} {upper}H{end}v{bar}H{left}z");
    picture.path(&format!("bar {class}"), path);
    let (from, to) = (number(place(spread.lowest)), number(place(spread.highest)));
    let (upper, cap, middle) = (number(middle - CAP / 2.0), number(CAP), number(middle));
    let path = format!("M{from} {upper}v{cap}M{from} {middle}H{to}M{to} {upper}v{cap}");
    picture.path("whisker", path);
    let at = (place(spread.highest) + 6.0, line);
    picture.text(value, "start", at, &thousands(spread.median));
}

fn words((one, spread): &(&Measured, Spread)) -> String {
    let [lowest, median, highest] = [spread.lowest, spread.median, spread.highest].map(thousands);
    format!("{} {median} ({lowest} to {highest})", one.name)
}
