//! A real browser: Chromium without a window, driven over `WebDriver`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};

use crate::support::{EMAIL, PASSWORD, Server};
use crate::venv::venv;
use crate::wait::{SOON, eventually};

/// The accessibility rules of axe-core, as a Python package brings them.
const AXE: &str = "axe-playwright-python==0.1.8";

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) name: &'static str,
    pub(crate) dark: bool,
    pub(crate) width: u32,
}

pub(crate) const WIDE: Look = Look {
    name: "wide-light",
    dark: false,
    width: 1280,
};
pub(crate) const LOOKS: [Look; 4] = [
    WIDE,
    Look {
        name: "wide-dark",
        dark: true,
        width: 1280,
    },
    Look {
        name: "narrow-light",
        dark: false,
        width: 390,
    },
    Look {
        name: "narrow-dark",
        dark: true,
        width: 390,
    },
];

/// One browser and its driver, which end with it.
pub(crate) struct Browser {
    pub(crate) page: Client,
    base: String,
    driver: Child,
}

impl Browser {
    pub(crate) async fn start(server: &Server, look: Look) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's packages chromium and chromium-driver are installed (`make prerequisites`)");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = tokio::task::spawn_blocking(move || {
            let said = |line: String| {
                let port = line.strip_prefix("ChromeDriver was started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            };
            lines
                .find_map(|line| said(line.unwrap()))
                .expect("chromedriver says its port")
        });
        let port = port.await.unwrap();
        let mut args = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={},900", look.width),
        ];
        // 0 is dark, 1 is light.
        args.push(format!(
            "--blink-settings=preferredColorScheme={}",
            u8::from(!look.dark)
        ));
        let mut wanted = Map::new();
        let mobile = json!({"deviceMetrics": {"width": look.width, "height": 900, "pixelRatio": 1.0}});
        let mut options = json!({"args": args});
        if look.width < 500 {
            options["mobileEmulation"] = mobile;
        }
        wanted.insert("goog:chromeOptions".to_owned(), options);
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("Chromium starts");
        let base = server.url("");
        Self { page, base, driver }
    }

    /// Ends the browser; its driver alone would leave it running.
    pub(crate) async fn stop(self) {
        self.page.clone().close().await.unwrap();
    }

    pub(crate) async fn open(&self, path: &str) {
        self.page.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    pub(crate) async fn path(&self) -> String {
        self.page.current_url().await.unwrap().path().to_owned()
    }

    pub(crate) async fn find(&self, css: &str) -> Element {
        let found = self.page.find(Locator::Css(css)).await;
        match found {
            Ok(found) => found,
            Err(error) => panic!(
                "{css} is not on {}: {error}\n{}",
                self.path().await,
                self.text().await
            ),
        }
    }

    pub(crate) async fn has(&self, css: &str) -> bool {
        !self.page.find_all(Locator::Css(css)).await.unwrap().is_empty()
    }

    /// Clicks a link by its words, as a person reads them, and waits for the page behind it.
    pub(crate) async fn click(&self, words: &str) {
        let link = self.page.find(Locator::LinkText(words)).await;
        self.go(link.unwrap_or_else(|e| panic!("no link {words:?}: {e}")))
            .await;
    }

    /// Sends a form by its button, and waits for the page that answers.
    pub(crate) async fn submit(&self, css: &str) {
        self.go(self.find(css).await).await;
    }

    async fn go(&self, element: Element) {
        self.mark().await;
        element.click().await.unwrap();
        self.arrive().await;
    }

    /// Notes which page this is, for [`Browser::arrive`].
    async fn mark(&self) {
        self.page.execute("window.before = true", vec![]).await.unwrap();
    }

    /// Waits for another page than the marked one, whole.
    async fn arrive(&self) {
        eventually("another page", SOON, async || {
            let there = "return window.before === undefined && document.readyState === 'complete'";
            match self.page.execute(there, vec![]).await {
                Ok(Value::Bool(true)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// What is in a field.
    pub(crate) async fn value(&self, css: &str) -> Option<String> {
        self.find(css).await.prop("value").await.unwrap()
    }

    pub(crate) async fn choose(&self, css: &str, words: &str) {
        self.find(css).await.select_by_label(words).await.unwrap();
    }

    pub(crate) async fn press(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    /// What a person reads.
    pub(crate) async fn text(&self) -> String {
        let body = self.page.find(Locator::Css("body")).await.unwrap();
        body.text().await.unwrap()
    }

    pub(crate) async fn source(&self) -> String {
        self.page.source().await.unwrap()
    }

    /// Presses a key where the focus is.
    pub(crate) async fn key(&self, key: Key) {
        let focus = self.page.active_element().await.unwrap();
        focus.send_keys(&char::from(key).to_string()).await.unwrap();
    }

    /// The Enter key on what leads to another page.
    pub(crate) async fn enter(&self) {
        self.mark().await;
        self.key(Key::Enter).await;
        self.arrive().await;
    }

    /// Loads the page again, as a person does who is asked whether the form is to be sent again.
    pub(crate) async fn reload(&self) {
        self.mark().await;
        self.page.refresh().await.unwrap();
        if self.page.get_alert_text().await.is_ok() {
            self.page.accept_alert().await.unwrap();
        }
        self.arrive().await;
    }

    /// Goes on with the Tab key until the focus is on an element with these words or this id.
    pub(crate) async fn tab_to(&self, wanted: &str) {
        for _ in 0..60 {
            self.key(Key::Tab).await;
            let focus = self.page.active_element().await.unwrap();
            let id = focus.attr("id").await.unwrap().unwrap_or_default();
            let label = focus.attr("aria-label").await.unwrap().unwrap_or_default();
            if [id, label, focus.text().await.unwrap()]
                .iter()
                .any(|t| t == wanted)
            {
                return;
            }
        }
        panic!("the Tab key does not lead to {wanted:?} on {}", self.path().await);
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) {
        self.open("/console/sign-in").await;
        self.fill("#email", email).await;
        self.fill("#password", password).await;
        self.submit("button[type=submit]").await;
    }

    /// A browser in which the administrator is signed in.
    pub(crate) async fn of_admin(server: &Server) -> Self {
        let browser = Self::start(server, WIDE).await;
        browser.sign_in_as_admin().await;
        browser
    }

    pub(crate) async fn sign_in_as_admin(&self) {
        self.sign_in(EMAIL, PASSWORD).await;
        assert_eq!(self.path().await, "/console");
    }

    /// The user icon, and Settings behind it.
    pub(crate) async fn settings(&self) {
        self.press("summary[aria-label='User menu']").await;
        self.click("Settings").await;
    }

    /// What axe-core finds wrong with the page.
    pub(crate) async fn inaccessible(&self) -> Vec<String> {
        self.page.execute(&axe(), Vec::new()).await.unwrap();
        let run = "const done = arguments[arguments.length - 1]; axe.run().then(r => done(r.violations), e => done([{id: String(e), nodes: []}]));";
        let found = self.page.execute_async(run, Vec::new()).await.unwrap();
        let words = |v: &Value| {
            let nodes: Vec<String> = v["nodes"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|n| n["html"].to_string())
                .collect();
            format!("{}: {}", v["id"], nodes.join(" "))
        };
        found.as_array().unwrap().iter().map(words).collect()
    }

    /// Keeps a picture in `docs/console` where `UPDATE` asks for it; without, it is only taken.
    pub(crate) async fn picture(&self, name: &str) {
        let png = self.page.screenshot().await.unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        if std::env::var_os("UPDATE").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/console");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn axe() -> String {
    let lib = std::fs::read_dir(venv(AXE, &["--no-deps"]).join("lib")).unwrap();
    let python = lib.flatten().next().unwrap().path();
    std::fs::read_to_string(python.join("site-packages/axe_playwright_python/axe.min.js")).unwrap()
}
