//! A browser that has opened the page.

use serde_json::Value;

use crate::house::Demo;
use crate::webdriver::Browser;

/// The page in a browser. [`Visit::end`] checks what must hold for each visit.
pub struct Visit {
    pub browser: Browser,
    pub demo: Demo,
}

impl Visit {
    /// Opens the page, and waits for the answer to its first request.
    pub fn start() -> Visit {
        Visit::to(Demo::start())
    }

    pub fn to(demo: Demo) -> Visit {
        let browser = Browser::take();
        browser.open(&demo.page);
        let visit = Visit { browser, demo };
        assert_eq!(
            visit.verdict(),
            "200 The API successfully validated your access token."
        );
        visit
    }

    /// The status and the message of the answer, once there is one.
    #[track_caller]
    pub fn verdict(&self) -> String {
        let heading = "document.querySelector('#verdict h2').textContent";
        self.browser.wait(&format!("{heading}.length > 3"));
        self.browser.text(&format!("return {heading}.trim();"))
    }

    /// Chooses a token and a route, with the mouse.
    pub fn choose(&self, caller: &str, path: &str) {
        self.browser
            .click(&format!("input[name=caller][value={caller}]"));
        self.browser
            .click(&format!("input[name=route][value='{path}']"));
    }

    /// Sends the request, and returns the answer's status and message.
    #[track_caller]
    pub fn send(&self) -> String {
        self.forget();
        self.browser.click("#send");
        self.verdict()
    }

    /// Removes the answer, so that the next one is known to be new.
    pub fn forget(&self) {
        self.browser
            .script("document.querySelector('#verdict h2').textContent = '';");
    }

    /// Clicks what changes the world, and returns what the page says about it.
    #[track_caller]
    pub fn act(&self, selector: &str) -> String {
        self.browser
            .script("document.getElementById('said').textContent = '';");
        self.browser.click(selector);
        self.said()
    }

    /// What the page says about what has changed, once it does.
    #[track_caller]
    pub fn said(&self) -> String {
        self.browser
            .wait("document.getElementById('said').textContent");
        self.text_of("#said")
    }

    /// The text of an element.
    pub fn text_of(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).textContent;");
        self.browser.text(&script)
    }

    /// The texts of all these elements.
    pub fn texts_of(&self, selector: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll({selector:?})].map(it => it.textContent);"
        );
        let texts = self.browser.script(&script);
        let texts = texts.as_array().expect("an array");
        texts
            .iter()
            .flat_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// Nothing went to another origin than the page's and the API's, and the console has no error
    /// but the statuses of the API, which a browser always notes there.
    pub fn end(self) {
        let api = self.browser.text("return state.api;");
        let is_known = |url: &str| {
            let origins = [self.demo.page.as_str(), &api];
            url.starts_with("data:")
                || origins.iter().any(|origin| {
                    url.strip_prefix(origin)
                        .is_some_and(|path| path.starts_with('/'))
                })
        };
        let mut requests = 0;
        for entry in self.browser.log("performance") {
            let message = entry["message"].as_str().expect("a text");
            let message: Value = serde_json::from_str(message).expect("JSON");
            let message = &message["message"];
            let document = &message["params"]["documentURL"];
            // The browser's own page for a new tab.
            let is_other = document
                .as_str()
                .is_some_and(|it| it.starts_with("chrome://"));
            if message["method"] != "Network.requestWillBeSent" || is_other {
                continue;
            }
            let url = message["params"]["request"]["url"]
                .as_str()
                .expect("a text");
            assert!(is_known(url), "a request for {url}");
            requests += usize::from(url.starts_with(&api));
        }
        assert!(requests > 0);
        for entry in self.browser.log("browser") {
            let text = entry["message"].as_str().unwrap_or_default();
            let is_status = entry["source"] == "network"
                && text.starts_with(&format!("{api}/api/"))
                && text.contains("the server responded with a status of");
            // The browser's own page for a new tab.
            assert!(is_status || text.starts_with("chrome://"), "{entry}");
        }
        self.browser.keep();
    }
}
