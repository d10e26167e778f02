//! The embedded platform as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::Mutex;

use super::cluster::binary;
use super::process::{self, Managed};

/// What a platform is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// IP address to listen on.
    pub address: String,
    /// Name of its organization.
    pub organization: String,
    /// Accounts: id and name.
    pub accounts: Vec<(String, String)>,
    /// More flags, for instance `--rate-limit 5`.
    pub flags: Vec<String>,
    /// URL of a PostgreSQL database; without one it is SQLite in a folder.
    pub database: Option<String>,
}

/// A platform of one test. It keeps its port and data through stops and starts.
#[derive(Debug)]
pub struct Platform {
    options: Options,
    dir: PathBuf,
    listen: Mutex<String>,
    process: Mutex<Option<Managed>>,
    url: String,
    /// Token of an organization administrator.
    pub admin_token: String,
    /// What that administrator signs in at the console with.
    pub admin_email: String,
    /// See [`Platform::admin_email`].
    pub admin_password: String,
    http: reqwest::Client,
}

/// An answer of the platform.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as JSON, or as a string if it is none.
    pub body: Value,
}

impl Answer {
    /// The objects of a good answer.
    #[must_use]
    pub fn items(&self) -> Vec<Value> {
        self.body["response"]["items"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// Code and message of the first error, or the text of a page.
    #[must_use]
    pub fn message(&self) -> String {
        let error = &self.body["response"]["errors"][0];
        match (error["code"].as_str(), error["message"].as_str()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            _ => self
                .body
                .as_str()
                .map_or_else(|| self.body.to_string(), str::to_owned),
        }
    }
}

/// 64 lower-case hexadecimal digits.
#[must_use]
pub fn fresh_token() -> String {
    use std::fmt::Write as _;
    rand::random::<[u8; 32]>()
        .iter()
        .fold(String::new(), |mut out, byte| {
            // Writing into a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

fn write_private(path: &Path, text: &str) -> Result<(), String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(|e| format!("{}: {e}", path.display()))
}

impl Platform {
    /// Starts a platform with an empty store; its data and output go below `dir`.
    pub async fn start(dir: &Path, options: Options) -> Result<Self, String> {
        let admin_token = fresh_token();
        let admin_password = fresh_token()[..24].to_owned();
        std::fs::create_dir_all(dir.join("data")).map_err(|e| format!("{}: {e}", dir.display()))?;
        write_private(&dir.join("admin-token"), &admin_token)?;
        write_private(&dir.join("admin-password"), &admin_password)?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .map_err(|e| e.to_string())?;
        let mut platform = Self {
            listen: Mutex::new(format!("{}:0", options.address)),
            options,
            dir: dir.to_owned(),
            process: Mutex::default(),
            url: String::new(),
            admin_token,
            admin_email: "admin@example.com".to_owned(),
            admin_password,
            http,
        };
        platform.resume().await?;
        let url = platform
            .process
            .lock()
            .await
            .as_ref()
            .map(|p| p.url.clone())
            .unwrap_or_default();
        platform.url = url;
        Ok(platform)
    }

    /// Starts it again after [`Platform::stop`] or [`Platform::kill`], on the same port and data.
    pub async fn resume(&self) -> Result<(), String> {
        let mut listen = self.listen.lock().await;
        let mut command = Command::new(binary());
        command.args(["platform", "--listen", &listen]);
        match &self.options.database {
            Some(url) => command.env("PLATFORM_DATABASE", url),
            None => command.arg("--data").arg(self.dir.join("data")),
        };
        command.args([
            "--organization",
            &self.options.organization,
            "--admin-email",
            &self.admin_email,
        ]);
        command
            .arg("--admin-token-file")
            .arg(self.dir.join("admin-token"));
        command
            .arg("--admin-password-file")
            .arg(self.dir.join("admin-password"));
        for (id, name) in &self.options.accounts {
            command.args(["--account", &format!("{id}={name}")]);
        }
        command.args(&self.options.flags);
        let process = Managed::start(command, &self.dir, "platform").await?;
        process.url.trim_start_matches("http://").clone_into(&mut listen);
        *self.process.lock().await = Some(process);
        Ok(())
    }

    /// Lets it end in order.
    pub async fn stop(&self) {
        if let Some(process) = self.process.lock().await.take() {
            process
                .terminate(Duration::from_secs(30))
                .await
                .expect("the platform ends on SIGTERM");
        }
    }

    /// SIGKILL: whatever is not on disk is lost.
    pub async fn kill(&self) {
        drop(self.process.lock().await.take());
    }

    /// SIGSTOP: the kernel accepts connections, and no reply comes.
    pub async fn freeze(&self) {
        process::freeze(self.process_id().await).await;
    }

    /// SIGCONT.
    pub async fn thaw(&self) {
        process::signal(self.process_id().await, "CONT");
    }

    /// Of the system.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn process_id(&self) -> u32 {
        let process = self.process.lock().await;
        process.as_ref().expect("the platform runs").id()
    }

    /// Leaves it running when this process ends; its process id.
    pub async fn detach(&self) -> Option<u32> {
        self.process.lock().await.take().map(Managed::detach)
    }

    /// Such as `http://127.0.0.1:4711`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Folder of its data and output.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// One call with a bearer token; an answer of whatever status. An error only if none came.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| format!("{path}: {e}"))?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|e| format!("{path}: {e}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    /// `GET` with this token.
    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, None)
            .await
            .expect("the platform answers")
    }

    /// `POST` with this token.
    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, token, Some(body))
            .await
            .expect("the platform answers")
    }

    /// `PUT` with this token.
    pub async fn put(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, token, Some(body))
            .await
            .expect("the platform answers")
    }

    /// `DELETE` with this token.
    pub async fn delete(&self, path: &str, token: &str) -> Answer {
        self.call(Method::DELETE, path, token, None)
            .await
            .expect("the platform answers")
    }

    /// All programmatic users, as an administrator sees them.
    pub async fn users(&self) -> Vec<Value> {
        let answer = self.get("/setup/organization/user", &self.admin_token).await;
        assert_eq!(
            answer.status,
            200,
            "the administrator may list users: {}",
            answer.message()
        );
        answer
            .items()
            .into_iter()
            .filter(|u| u["type"] == "programmatic")
            .collect()
    }

    /// One user's details, or the status of the refusal.
    pub async fn user(&self, id: &str) -> Result<Value, u16> {
        let answer = self.get(&format!("/setup/user/{id}"), &self.admin_token).await;
        answer
            .items()
            .into_iter()
            .next()
            .filter(|_| answer.status == 200)
            .ok_or(answer.status)
    }

    /// Whether a token is good for anything: 401 means it is not.
    pub async fn accepts(&self, token: &str) -> bool {
        self.get("/setup/account", token).await.status != 401
    }

    /// Makes a group without members, as an administrator; its id.
    pub async fn make_group(&self, name: &str) -> String {
        let body = serde_json::json!({"name": name, "userIds": [], "policies": []});
        let answer = self
            .post("/setup/access/userGroup", &self.admin_token, &body)
            .await;
        assert_eq!(
            answer.status,
            200,
            "the administrator may make groups: {}",
            answer.message()
        );
        answer.items()[0]["id"]
            .as_str()
            .expect("a group has an id")
            .to_owned()
    }

    /// Makes a policy, as an administrator; its id.
    pub async fn make_policy(&self, name: &str, content: &Value) -> String {
        let body = serde_json::json!({"policy": {"name": name, "description": "made by a test", "policyContent": content}});
        let answer = self.post("/setup/access/policy", &self.admin_token, &body).await;
        assert_eq!(
            answer.status,
            200,
            "the administrator may make policies: {}",
            answer.message()
        );
        answer.items()[0]["id"]
            .as_str()
            .expect("a policy has an id")
            .to_owned()
    }
}
