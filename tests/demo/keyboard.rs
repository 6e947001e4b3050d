//! The page without a mouse, and for a screen reader.

use serde_json::{Value, json};

use crate::Scenario;
use crate::visit::Visit;
use crate::webdriver::keys;

pub const SCENARIOS: &[Scenario] = &[
    ("all with the keyboard", keyboard),
    ("names and roles for a screen reader", names),
    ("what changes is announced", announced),
];

/// Which element has the keyboard.
fn focus(visit: &Visit) -> String {
    visit.browser.text(
        "const it = document.activeElement;
         return it.id || it.name || it.className || it.localName;",
    )
}

fn keyboard() {
    let visit = Visit::start();
    let mut order = Vec::new();
    loop {
        visit.browser.press(keys::TAB);
        let name = focus(&visit);
        if name == "body" || order.first() == Some(&name) {
            break;
        }
        let outline = "return getComputedStyle(document.activeElement).outlineStyle;";
        assert_eq!(
            visit.browser.text(outline),
            "solid",
            "{name} shows no focus"
        );
        order.push(name);
        assert!(order.len() < 30, "{order:?}");
    }
    let expected = [
        "caller", "route", "send", "tenant", "clock", "rotate", "reload", "renew", "curl", "copy",
        "summary", "more",
    ];
    assert_eq!(order, expected);
    // From the beginning: the next token, and Enter.
    visit.browser.script(
        "document.activeElement.blur(); document.querySelector('[name=caller]:checked').focus();",
    );
    visit.browser.press(keys::DOWN);
    visit.browser.press(keys::TAB);
    visit.browser.press(keys::DOWN);
    visit.forget();
    visit.browser.press(keys::ENTER);
    assert_eq!(
        visit.verdict(),
        "200 The API successfully recognized you as an admin."
    );
    assert_eq!(focus(&visit), "route");
    visit.browser.press(keys::TAB);
    visit.forget();
    visit.browser.press(keys::SPACE);
    assert_eq!(
        visit.verdict(),
        "200 The API successfully recognized you as an admin."
    );
    visit.browser.press(keys::TAB);
    visit.browser.press(keys::DOWN);
    assert!(visit.said().contains("The tenant is down"));
    visit.browser.press_with(Some(keys::SHIFT), keys::TAB);
    assert_eq!(focus(&visit), "send");
    visit.end();
}

fn names() {
    let visit = Visit::start();
    let tree = visit
        .browser
        .devtools("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes");
    let mut found = Vec::new();
    for node in nodes {
        if node["ignored"] == true {
            continue;
        }
        let text = |part: &str| node[part]["value"].as_str().unwrap_or_default().to_owned();
        let (role, name) = (text("role"), text("name"));
        let property = |wanted: &str| {
            let all = node["properties"].as_array().into_iter().flatten();
            let mut named = all.filter(|property| property["name"] == wanted);
            named
                .next()
                .map(|property| property["value"]["value"].clone())
        };
        if property("focusable") == Some(Value::Bool(true)) && role != "RootWebArea" {
            assert_ne!(name, "", "a {role} without a name");
            assert_ne!(role, "generic", "{name} has no role");
        }
        found.push((role, name));
    }
    for (role, name) in [
        ("heading", "postern"),
        ("main", ""),
        ("form", "The request"),
        ("group", "Access token"),
        ("radio", "user no permissions"),
        ("group", "Route"),
        ("radio", "admin and a permission"),
        ("button", "Send the request"),
        ("group", "What else can happen"),
        ("group", "The tenant"),
        ("radio", "is down"),
        ("group", "The clock of postern"),
        ("radio", "is two days ahead"),
        ("button", "Rotate the signing key"),
        ("button", "Revoke the old key"),
        ("button", "Make postern fetch the keys"),
        ("button", "Get new tokens"),
        ("status", "The answer"),
        ("region", "The token, decoded"),
        ("region", "On the wire"),
        ("region", "The same with curl"),
        ("textbox", "The same with curl"),
        ("button", "Copy the curl line"),
        ("region", "What postern logged"),
    ] {
        let is_it = |it: &&(String, String)| it.0 == role && (name.is_empty() || it.1 == name);
        assert!(
            found.iter().any(|it| is_it(&it)),
            "no {role} {name}: {found:?}"
        );
    }
    assert_eq!(
        visit.browser.text("return document.documentElement.lang;"),
        "en"
    );
    // One first heading, and no level left out.
    let levels = visit.browser.text(
        "return [...document.querySelectorAll('h1,h2,h3')].map(it => it.localName[1]).join('');",
    );
    assert!(
        levels.starts_with("12") && levels.matches('1').count() == 1,
        "{levels}"
    );
    visit.end();
}

/// Live regions exist before their text changes; otherwise nothing is announced.
fn announced() {
    let visit = Visit::start();
    let live = "window.kept = ['verdict', 'said', 'copied'].map(id => document.getElementById(id));
         return kept.map(it => it.getAttribute('role')).join(' ');";
    assert_eq!(visit.browser.text(live), "status status status");
    visit.choose("none", "/api/messages/protected");
    visit.send();
    visit.act("#rotate");
    let same = "return kept.every(it => it.isConnected) && kept[0].textContent.includes('401')
         && kept[1].textContent.includes('next key');";
    assert_eq!(visit.browser.script(same), true);
    visit.end();
}
