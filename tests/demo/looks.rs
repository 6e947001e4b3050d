//! How the page looks: in light and dark, wide and narrow.

use std::fs;
use std::path::Path;

use crate::Scenario;
use crate::house::Demo;
use crate::visit::Visit;

pub const SCENARIOS: &[Scenario] = &[
    ("light and dark", schemes),
    ("nothing is cut off at 400 pixels", narrow),
];

const ADMIN: &str = "/api/messages/admin";

/// The texts whose contrast with their background is less than 4.5 (WCAG 2.2, 1.4.3).
const FAINT: &str = r#"
const parse = text => {
  const [r, g, b, a] = text.match(/[\d.]+/g).map(Number);
  return [r, g, b, a ?? 1];
};
const linear = channel => {
  const c = channel / 255;
  return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
};
const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
const background = it => {
  for (; it; it = it.parentElement) {
    const color = parse(getComputedStyle(it).backgroundColor);
    if (color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const faint = [];
while (walker.nextNode()) {
  const it = walker.currentNode.parentElement;
  const isExempt = it.closest(':disabled, .sr, script, .choice:has(:disabled)');
  if (!walker.currentNode.data.trim() || !it.checkVisibility() || isExempt) continue;
  const colors = [parse(getComputedStyle(it).color), background(it)];
  const [light, dark] = colors.map(luminance).sort((a, b) => b - a);
  const contrast = (light + .05) / (dark + .05);
  if (contrast < 4.5) faint.push(contrast.toFixed(2) + ' ' + it.outerHTML.slice(0, 80));
}
return faint;
"#;

fn assert_readable(visit: &Visit) {
    let faint = visit.browser.script(FAINT);
    assert_eq!(faint.as_array().map(Vec::len), Some(0), "{faint:#}");
}

fn schemes() {
    let visit = Visit::start();
    let background = || {
        visit
            .browser
            .text("return getComputedStyle(document.body).backgroundColor;")
    };
    let mut seen = Vec::new();
    for scheme in ["light", "dark"] {
        visit.browser.view(1000, 1000, scheme);
        // Colours change gradually.
        visit.browser.wait("document.getAnimations().length === 0");
        for (caller, path) in [("user", ADMIN), ("admin", ADMIN), ("opaque", ADMIN)] {
            visit.choose(caller, path);
            visit.send();
            visit.browser.wait("document.getAnimations().length === 0");
            assert_readable(&visit);
        }
        visit.act("input[value=unset]");
        visit.send();
        visit.browser.wait("document.getAnimations().length === 0");
        assert_readable(&visit);
        visit.act("input[value=right]");
        seen.push(background());
    }
    assert_ne!(seen[0], seen[1]);
    visit.end();
}

fn narrow() {
    let visit = Visit::start();
    for width in [1000, 400, 320] {
        visit.browser.view(width, 800, "light");
        for caller in ["user", "opaque", "tampered"] {
            visit.choose(caller, ADMIN);
            visit.send();
            // What is wider scrolls within itself.
            let over = "const page = document.documentElement;
                 return page.scrollWidth - page.clientWidth;";
            assert_eq!(visit.browser.script(over), 0, "{width} with {caller}");
        }
        // What is asked for below the fold comes into view.
        let top = visit
            .browser
            .script("return document.getElementById('verdict').getBoundingClientRect().top;");
        let top = top.as_f64().expect("a number");
        assert!(
            width == 1000 || (-1.0..800.0).contains(&top),
            "{width}: {top}"
        );
    }
    visit.end();
}

/// Two pictures for README: a user at the admin's route.
pub fn make_screenshots(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    let visit = Visit::to(Demo::start_on("6060"));
    let hidden = serde_json::json!({"hidden": true});
    visit
        .browser
        .devtools("Emulation.setScrollbarsHidden", hidden);
    for scheme in ["light", "dark"] {
        visit.browser.view(1000, 1000, scheme);
        visit.choose("user", ADMIN);
        assert_eq!(visit.send(), "403 Permission denied");
        visit
            .browser
            .script("document.activeElement.blur(); scrollTo(0, 0);");
        // All but what was on the wire.
        let height = visit.browser.script(
            "return Math.floor(document.querySelector('.across').getBoundingClientRect().top);",
        );
        let height = height.as_u64().and_then(|it| u32::try_from(it).ok());
        visit.browser.view(1000, height.expect("a height"), scheme);
        visit.browser.wait("document.getAnimations().length === 0");
        let picture = visit.browser.screenshot();
        let path = folder.join(format!("demo-{scheme}.png"));
        fs::write(&path, picture).expect("the folder takes a file");
    }
    visit.end();
}
