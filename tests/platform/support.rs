//! A running platform, and a client that looks at every reply.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use programmatic_users::platform::Token;
use programmatic_users::server::{AccountSeed, Error, FirstStart, Password, Platform, PlatformConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ADMIN: &str = "ad00000000000000000000000000000000000000000000000000000000000001";
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const EMAIL: &str = "admin@example.com";
pub(crate) const A: &str = "act-aaaaaaaa";
pub(crate) const B: &str = "act-bbbbbbbb";

/// Everything that any test of this binary made the platform log, at TRACE.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

pub(crate) static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    log
});

impl Log {
    pub(crate) fn contains(&self, text: &str) -> bool {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    }
}

impl Write for Log {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What every reply has been checked for: see [`Server::send`].
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn items(&self) -> &Vec<Value> {
        self.body["response"]["items"]
            .as_array()
            .unwrap_or_else(|| panic!("no items: {self:?}"))
    }
    pub(crate) fn item(&self) -> &Value {
        assert_eq!(self.items().len(), 1, "{self:?}");
        &self.items()[0]
    }
    pub(crate) fn error(&self) -> (&str, &str, Option<&str>) {
        let error = &self.body["response"]["errors"][0];
        (
            error["code"].as_str().unwrap_or_default(),
            error["message"].as_str().unwrap_or_default(),
            error["field"].as_str(),
        )
    }
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:#}", self.body);
        self
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) directory: TempDir,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Error>>,
}

pub(crate) fn config(directory: &Path) -> PlatformConfig {
    LazyLock::force(&LOG);
    let account = |id: &str, name: &str| AccountSeed {
        id: Some(id.into()),
        name: name.into(),
    };
    PlatformConfig {
        database: crate::database(directory),
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_password: Some(Password::new(PASSWORD.into())),
        admin_token: Token::new(ADMIN),
        accounts: vec![account(A, "production"), account(B, "staging")],
        requests_per_minute: 100_000,
        ..PlatformConfig::default()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await.0
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut PlatformConfig)) -> (Self, Option<FirstStart>) {
        Self::open(tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn open(
        directory: TempDir,
        change: impl FnOnce(&mut PlatformConfig),
    ) -> (Self, Option<FirstStart>) {
        let mut config = config(directory.path());
        change(&mut config);
        let mut platform = Platform::bind(config).await.unwrap();
        let first = platform.take_first_start();
        let address = platform.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(platform.serve(async {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        (
            Self {
                address,
                http,
                directory,
                stop,
                serving,
            },
            first,
        )
    }

    /// Stops gracefully and gives the data back.
    pub(crate) async fn stop(self) -> TempDir {
        drop(self.http);
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
        self.directory
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request and checks what must hold for every reply of the API.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let reply = request.send().await.unwrap();
        let status = reply.status().as_u16();
        let headers = reply.headers().clone();
        let text = reply.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{status}: {e}: {text}"));
        assert!(
            headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("application/json")
        );
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(body["response"]["status"]["code"], status);
        assert!(body["response"]["status"]["message"].is_string());
        assert_eq!(body["request"]["id"].as_str().unwrap().len(), 36, "{body}");
        for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
            assert!(headers[name].to_str().unwrap().parse::<u64>().is_ok(), "{name}");
        }
        let errors = body["response"]["errors"].as_array();
        match status {
            200 => assert!(errors.is_none(), "{body}"),
            429 => assert!(errors.is_none() && body["response"]["data"].is_string(), "{body}"),
            _ => {
                assert!(status < 500, "{body}");
                assert!(errors.is_some_and(|e| e[0]["code"].is_string() && e[0]["message"].is_string()));
            }
        }
        if let Some(items) = body["response"]["items"].as_array() {
            assert_eq!(body["response"]["count"], items.len());
            assert!(body["response"]["kind"].is_string());
        }
        Answer {
            status,
            headers,
            body,
        }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(self.http.get(self.url(path)).bearer_auth(token)).await
    }
    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(self.http.post(self.url(path)).bearer_auth(token).json(&body))
            .await
    }
    pub(crate) async fn put(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(self.http.put(self.url(path)).bearer_auth(token).json(&body))
            .await
    }
    pub(crate) async fn delete(&self, token: &str, path: &str) -> Answer {
        self.send(self.http.delete(self.url(path)).bearer_auth(token))
            .await
    }

    /// Id and token of a new programmatic user with a role in one account.
    pub(crate) async fn user(&self, role: &str, account: &str) -> (String, String) {
        self.user_with(json!({"name": role, "accounts": [{"id": account, "role": role}]}))
            .await
    }

    pub(crate) async fn user_with(&self, body: Value) -> (String, String) {
        let made = self
            .post(ADMIN, "/setup/user/programmatic", body)
            .await
            .expect(200);
        let text = |key: &str| made.item()[key].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }

    /// Id of a new policy.
    pub(crate) async fn policy(&self, policy_type: &str, statements: Value) -> String {
        let body = json!({"policy": {"name": "custom", "type": policy_type,
            "policyContent": {"statements": statements}}});
        let made = self.post(ADMIN, "/setup/access/policy", body).await.expect(200);
        made.item()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn events(&self, more: &str) -> Vec<Value> {
        let path = format!("/audit/events?fromDate=0&toDate=99999999999999&responseStatus=all{more}");
        self.get(ADMIN, &path).await.expect(200).items().clone()
    }
}

/// Whether any file of the database holds these words.
pub(crate) fn on_disk(folder: &TempDir, words: &str) -> bool {
    let files = crate::written(folder.path());
    // A database that runs has files that come and go.
    let found = std::process::Command::new("grep")
        .args([
            "--recursive",
            "--quiet",
            "--text",
            "--no-messages",
            "--fixed-strings",
            "--",
        ])
        .arg(words)
        .arg(files)
        .status();
    found.unwrap().success()
}
