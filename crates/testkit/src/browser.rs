//! A headless Chromium, for looking at pages as people do: how wide they are, what they say, what
//! the browser complains about. Page scripts are off.
//!
//! It is driven over a pipe by the `DevTools` protocol, so that nothing listens anywhere.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::peers;

/// Debian's name for it.
const PROGRAM: &str = "chromium";

/// A browser that ends when this is dropped.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    calls: u64,
    /// What came while an answer was waited for.
    events: Vec<Value>,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    pub dark: bool,
}

/// A page as it was shown.
#[derive(Debug)]
pub struct Shown {
    /// What a reader sees.
    pub text: String,
    /// Roles and names in the order in which assistive technology reads them: `heading: Tags`.
    pub outline: Vec<String>,
    /// Width of the content and of the screen; the first is larger where one has to scroll sideways.
    pub content_width: u64,
    pub screen_width: u64,
    /// Errors and warnings of the browser's log: blocked content, failed requests.
    pub complaints: Vec<String>,
    /// The colour behind the text, as CSS writes it.
    pub background: String,
}

impl Browser {
    /// Starts one with a profile in `directory`; `None` when this machine has no Chromium.
    pub fn start(directory: &Path) -> io::Result<Option<Self>> {
        if !peers::on_path(PROGRAM) {
            return Ok(None);
        }
        let profile = format!("--user-data-dir={}", directory.display());
        // It speaks over descriptors 3 and 4.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1 </dev/null";
        let mut child = Command::new("sh")
            .args(["-c", script, PROGRAM, "--headless", "--no-sandbox"])
            .args(["--disable-gpu", "--remote-debugging-pipe", &profile])
            .env("HOME", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().expect("it was asked for");
        let from = child.stdout.take().expect("it was asked for");
        Ok(Some(Self {
            child,
            to,
            from: BufReader::new(from),
            calls: 0,
            events: Vec::new(),
        }))
    }

    /// Opens a page in a tab of its own. An error says what the browser did not do.
    pub fn show(&mut self, url: &str, screen: Screen) -> io::Result<Shown> {
        let target = self.call("", "Target.createTarget", json!({"url": "about:blank"}))?;
        let target = target["targetId"].clone();
        let attach = json!({"targetId": target, "flatten": true});
        let attached = self.call("", "Target.attachToTarget", attach)?;
        let tab = attached["sessionId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let scheme = if screen.dark { "dark" } else { "light" };
        for (method, parameters) in [
            ("Page.enable", json!({})),
            ("Log.enable", json!({})),
            ("Runtime.enable", json!({})),
            (
                "Emulation.setScriptExecutionDisabled",
                json!({"value": true}),
            ),
            (
                "Emulation.setDeviceMetricsOverride",
                json!({"width": screen.width, "height": 900, "deviceScaleFactor": 1, "mobile": false}),
            ),
            (
                "Emulation.setEmulatedMedia",
                json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
            ),
        ] {
            self.call(&tab, method, parameters)?;
        }
        self.events.clear();
        let went = self.call(&tab, "Page.navigate", json!({"url": url}))?;
        if let Some(text) = went["errorText"].as_str() {
            return Err(io::Error::other(format!("cannot open {url}: {text}")));
        }
        while !self
            .events
            .iter()
            .any(|event| event["method"] == "Page.loadEventFired" && event["sessionId"] == tab)
        {
            let event = self.receive()?;
            self.events.push(event);
        }
        let metrics = self.call(&tab, "Page.getLayoutMetrics", json!({}))?;
        let content = &metrics["cssContentSize"];
        let tree = self.call(&tab, "Accessibility.getFullAXTree", json!({}))?;
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let shown = Shown {
            text: self.evaluate(&tab, "document.body.innerText")?,
            outline: outline(&tree),
            content_width: number(&content["width"]),
            screen_width: number(&metrics["cssLayoutViewport"]["clientWidth"]),
            background: self.evaluate(&tab, "getComputedStyle(document.body).backgroundColor")?,
            complaints: self.complaints(&tab),
        };
        self.call("", "Target.closeTarget", json!({"targetId": target}))?;
        Ok(shown)
    }

    fn evaluate(&mut self, tab: &str, expression: &str) -> io::Result<String> {
        let found = self.call(tab, "Runtime.evaluate", json!({"expression": expression}))?;
        let text = found["result"]["value"].as_str();
        Ok(text.unwrap_or_default().to_owned())
    }

    fn complaints(&self, tab: &str) -> Vec<String> {
        let said = self.events.iter().filter(|event| event["sessionId"] == tab);
        let complaints = said.filter_map(|event| match event["method"].as_str()? {
            "Log.entryAdded" => Some(event["params"]["entry"]["text"].to_string()),
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => {
                Some(event["params"].to_string())
            }
            _ => None,
        });
        complaints.collect()
    }

    /// One call and its answer; an empty `tab` is the browser itself.
    fn call(&mut self, tab: &str, method: &str, parameters: Value) -> io::Result<Value> {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": parameters});
        if !tab.is_empty() {
            message["sessionId"] = tab.into();
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.to.write_all(&text)?;
        loop {
            let mut answer = self.receive()?;
            if answer["id"] != self.calls {
                self.events.push(answer);
            } else if answer["error"].is_null() {
                return Ok(answer["result"].take());
            } else {
                let error = &answer["error"];
                return Err(io::Error::other(format!("{method} failed: {error}")));
            }
        }
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut text = Vec::new();
        self.from.read_until(0, &mut text)?;
        if text.pop() != Some(0) {
            return Err(io::Error::other("the browser ended"));
        }
        serde_json::from_slice(&text).map_err(io::Error::from)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It has children of its own, which end with it when it is asked, not when it is killed.
        if self.call("", "Browser.close", json!({})).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What stands for text alone is left out: it is in the text.
fn outline(tree: &Value) -> Vec<String> {
    let nodes = tree["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    for node in nodes.iter().filter(|node| node["ignored"] != true) {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if !matches!(
            role,
            "" | "none" | "generic" | "StaticText" | "InlineTextBox"
        ) {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            found.push(format!("{role}: {name}"));
        }
    }
    found
}
