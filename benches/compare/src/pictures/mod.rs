//! Pictures of the figures, as SVG: for a page 600 pixels wide, light or dark, and for those who do
//! not see them. The same figures make the same bytes.

mod memory;
mod throughput;

use std::fs;
use std::path::Path;

use svg::node::element::{self, Element};
use svg::{Document, Node};

use crate::Result;
use crate::figures::{Figures, QUIET};
use crate::plan::{NGINX, Server};

/// The width of a picture. Lengths are in pixels.
const WIDTH: f64 = 600.0;
/// What is left free at each edge.
const MARGIN: f64 = 16.0;
/// From a line of the text below a picture to the next.
const NOTE_LINE: f64 = 17.0;
/// What a character takes, in the mean and in a wide font: 13 px high, the same in bold, 12 px
/// high, and that in bold.
const CHARACTER: f64 = 7.3;
const BOLD_CHARACTER: f64 = 8.6;
const NOTE_CHARACTER: f64 = 6.5;
const WARNING_CHARACTER: f64 = 7.6;
/// How much of a server's name is shown.
const MAX_NAME: usize = 16;

const FONTS: &str = "
text { font: 13px system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif }
.title { font-size: 16px }
.note { font-size: 12px }
.title, .group, .first, .warning { font-weight: 600 }
.value, .tick { font-variant-numeric: tabular-nums }
.line, .whisker, .grid { fill: none }
.line { stroke-width: 2 }
.fixed { fill-opacity: .3; stroke-dasharray: 3 2 }
";

/// Rules with names in place of colours.
const RULES: &str = "
text { fill: @ink }
.ground { fill: @ground }
.note, .tick { fill: @faint }
.warning { fill: @warning }
.bar, .mark { fill: @grey }
.line, .fixed { stroke: @grey }
.bar.own, .mark.own { fill: @own }
.line.own { stroke: @own }
.mark.s0 { fill: @orange }
.line.s0 { stroke: @orange }
.mark.s1 { fill: @purple }
.line.s1 { stroke: @purple }
.mark.s2 { fill: @green }
.line.s2 { stroke: @green }
.whisker { stroke: @ink }
.grid { stroke: @rule }
";

/// The names, and the colours of a light and of a dark page. Text has a contrast of 4.5 at least to
/// its ground, all that tells something 3 (WCAG 2.2, 1.4.3 and 1.4.11).
const COLOURS: [(&str, &str, &str); 10] = [
    ("@ink", "#1f2328", "#e6edf3"),
    ("@ground", "#ffffff", "#0d1117"),
    ("@faint", "#59636e", "#9198a1"),
    ("@warning", "#9a6700", "#d29922"),
    ("@grey", "#868e97", "#6e7681"),
    ("@own", "#0969da", "#4493f7"),
    ("@orange", "#bc4c00", "#f0883e"),
    ("@purple", "#8250df", "#ab7df8"),
    ("@green", "#1a7f37", "#3fb950"),
    ("@rule", "#d1d9e0", "#30363d"),
];

/// Draws all pictures that there are figures for into a folder. The names of those that there are
/// not.
pub fn draw(figures: &Figures, folder: &Path) -> Result<Vec<&'static str>> {
    let mut left_out = Vec::new();
    for (name, picture) in [
        ("throughput.svg", throughput::picture(figures)),
        ("memory.svg", memory::picture(figures)),
    ] {
        let Some(picture) = picture else {
            left_out.push(name);
            continue;
        };
        let file = folder.join(name);
        let written = fs::write(&file, picture.finish(figures, name));
        written.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(left_out)
}

/// A picture under way.
struct Picture {
    title: &'static str,
    /// What it shows, in words.
    words: Vec<String>,
    /// What stands below it.
    notes: Vec<String>,
    /// How far down it is drawn.
    height: f64,
    elements: Vec<Element>,
}

impl Picture {
    /// With its title.
    fn new(title: &'static str) -> Picture {
        let mut picture = Picture {
            title,
            words: Vec::new(),
            notes: Vec::new(),
            height: 44.0,
            elements: Vec::new(),
        };
        picture.text("title", "start", (MARGIN, 28.0), title);
        picture
    }

    /// A text, of which `anchor` is at this place: its `start`, `middle` or `end`.
    fn text(&mut self, class: &str, anchor: &str, at: (f64, f64), text: &str) {
        let mut element = element::Text::new(allowed(text))
            .set("x", number(at.0))
            .set("y", number(at.1));
        if !class.is_empty() {
            element = element.set("class", class);
        }
        if anchor != "start" {
            element = element.set("text-anchor", anchor);
        }
        self.elements.push(element.into());
    }

    fn path(&mut self, class: &str, path: String) {
        let path = element::Path::new().set("class", class).set("d", path);
        self.elements.push(path.into());
    }

    /// The whole file.
    fn finish(mut self, figures: &Figures, name: &str) -> String {
        self.notes.push(circumstances(figures));
        self.put_notes(figures);
        let id = name.trim_end_matches(".svg");
        let (title, words) = (format!("{id}-title"), format!("{id}-words"));
        let height = number(self.height + MARGIN / 2.0);
        let mut document = Document::new()
            .set("role", "img")
            .set("aria-labelledby", format!("{title} {words}"))
            .set("width", number(WIDTH))
            .set("height", height.as_str())
            .set("viewBox", format!("0 0 {} {height}", number(WIDTH)))
            .add(element::Title::new(self.title).set("id", title))
            .add(
                element::Description::new()
                    .set("id", words)
                    .add(svg::node::Text::new(allowed(&self.words.join(" ")))),
            )
            .add(element::Style::new(style().trim()))
            .add(
                element::Rectangle::new()
                    .set("class", "ground")
                    .set("width", number(WIDTH))
                    .set("height", height.as_str())
                    .set("rx", 6),
            );
        for element in self.elements {
            document.append(element);
        }
        format!("{document}\n")
    }

    fn put_notes(&mut self, figures: &Figures) {
        self.height += 8.0;
        let others = figures.others();
        let warning = (others >= QUIET).then(|| {
            format!(
                "The machine was not quiet: others had {others:.0} % of its CPU time. No figure \
                 here is worth quoting."
            )
        });
        let notes = std::mem::take(&mut self.notes);
        let notes = notes.into_iter().map(|note| ("note", note, NOTE_CHARACTER));
        let warning = warning
            .into_iter()
            .map(|note| ("note warning", note, WARNING_CHARACTER));
        for (class, note, each) in notes.chain(warning) {
            for line in wrapped(&note, ((WIDTH - 2.0 * MARGIN) / each) as usize) {
                self.height += NOTE_LINE;
                self.text(class, "start", (MARGIN, self.height - 4.0), &line);
            }
            self.words.push(note);
        }
    }
}

/// What all figures have in common.
fn circumstances(figures: &Figures) -> String {
    let machine = &figures.machine;
    let rounds = match figures.rounds {
        1 => format!("One round of {} s.", figures.seconds),
        rounds => {
            let seconds = figures.seconds;
            format!("Medians of {rounds} rounds of {seconds} s, with the lowest and the highest.")
        }
    };
    let date = machine.date.split(' ').next().unwrap_or_default();
    let (cpu, cores) = (&machine.cpu, machine.cores);
    let plural = if cores == 1 { "" } else { "s" };
    format!("{rounds} {date}, {cpu}, {cores} core{plural}, which servers and clients share.")
}

/// How a server is drawn.
fn class(server: Server) -> &'static str {
    match server {
        Server::Postern { .. } => "own",
        NGINX => "fixed",
        Server::Other(_) => "other",
    }
}

/// A name that fits.
fn short(name: &str) -> String {
    match name.chars().count() > MAX_NAME {
        true => name.chars().take(MAX_NAME - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

/// Lines of at most so many characters, unless a word has more.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The characters that XML allows (XML 1.0, 2.2), but for those that break a line.
fn allowed(text: &str) -> String {
    let replaced = |c: char| match c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    text.chars().map(replaced).collect()
}

/// A coordinate, to a tenth of a pixel.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn style() -> String {
    let rules = |colour: fn(&(&str, &'static str, &'static str)) -> &'static str| {
        COLOURS.iter().fold(RULES.to_owned(), |rules, entry| {
            rules.replace(&format!("{} ", entry.0), &format!("{} ", colour(entry)))
        })
    };
    format!(
        "{FONTS}{}@media (prefers-color-scheme: dark) {{{}}}\n",
        rules(|entry| entry.1).trim_start(),
        rules(|entry| entry.2)
    )
}

#[cfg(test)]
mod tests;
