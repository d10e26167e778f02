//! What callers send to a running platform: bodies, queries, forms of the console, and whole requests.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use programmatic_users::platform::Token;
use programmatic_users::server::{AccountSeed, Database, Password, Platform, PlatformConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use url::form_urlencoded::byte_serialize;

use super::{first_line, text};

const ADMIN: &str = "ad00000000000000000000000000000000000000000000000000000000000001";
const EMAIL: &str = "admin@example.com";
const PASSWORD: &str = "correct horse battery";
/// No reply to a request of these is longer.
const LONGEST: usize = 8 * 1024 * 1024;

struct Server {
    runtime: Runtime,
    address: SocketAddr,
    /// Of the administrator's session.
    cookies: String,
    csrf: String,
    _directory: TempDir,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a folder");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
    let config = PlatformConfig {
        database: Database::Directory(directory.path().to_owned()),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin_password: Some(Password::new(PASSWORD.to_owned())),
        admin_token: Token::new(ADMIN),
        accounts: vec![AccountSeed {
            id: Some("act-aaaaaaaa".to_owned()),
            name: "production".to_owned(),
        }],
        requests_per_minute: 0,
        ..PlatformConfig::default()
    };
    let platform = runtime.block_on(Platform::bind(config)).expect("a platform");
    let address = platform.address();
    runtime.spawn(platform.serve(std::future::pending()));
    let mut server = Server {
        runtime,
        address,
        cookies: String::new(),
        csrf: String::new(),
        _directory: directory,
    };
    server.sign_in();
    server
});

/// Status, head and body.
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Server {
    /// Bytes as they are, and all that comes until the connection ends. The platform has to end it, at the latest when
    /// nothing more can come; of a request that is whole it must not be said so, or the platform takes it for given up.
    fn send(&self, bytes: &[u8], is_whole: bool) -> Vec<u8> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("the platform listens");
            // It may answer and close before it has read everything.
            let _ = stream.write_all(bytes).await;
            if !is_whole {
                let _ = stream.shutdown().await;
            }
            let mut reply = Vec::new();
            let _ = stream.read_to_end(&mut reply).await;
            reply
        };
        let within = async { tokio::time::timeout(Duration::from_secs(9), exchange).await };
        let reply = self
            .runtime
            .block_on(within)
            .expect("the platform ends a connection");
        assert!(reply.len() <= LONGEST, "{} bytes", reply.len());
        reply
    }

    fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: platform\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        let reply = self.send(&[head.as_bytes(), body].concat(), true);
        let end = reply.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{method} {path}: no answer"));
        let head = String::from_utf8_lossy(&reply[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.expect("an answer has a status");
        assert!(status < 500, "{method} {path} {}: {head}", text(body));
        let body = reply[end + 4..].to_vec();
        Reply { status, head, body }
    }

    /// A call of the API by the administrator: each answer has the envelope.
    fn api(&self, method: &str, path: &str, body: &[u8]) {
        let reply = self.call(method, path, &format!("authorization: Bearer {ADMIN}\r\n"), body);
        let is_json = reply
            .head
            .to_ascii_lowercase()
            .contains("content-type: application/json");
        if method != "HEAD" && is_json && !reply.head.to_ascii_lowercase().contains("transfer-encoding") {
            let envelope: Value = serde_json::from_slice(&reply.body).expect("JSON is JSON");
            let code = envelope["response"]["status"]["code"].as_u64();
            assert_eq!(code, Some(u64::from(reply.status)), "{method} {path}: {envelope}");
        }
        // An administrator stays one, whatever is sent.
        assert_ne!(reply.status, 401, "{method} {path} {}", text(body));
    }

    fn page(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers = format!(
            "cookie: {}\r\norigin: http://platform\r\ncontent-type: application/x-www-form-urlencoded\r\n",
            self.cookies
        );
        self.call(method, path, &headers, body.as_bytes())
    }

    /// Takes over the cookies of a reply, and the last `csrf` of its page.
    fn remember(&mut self, reply: &Reply) {
        let set = reply.head.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie")
                .then(|| value.split(';').next())?
        });
        let set: Vec<&str> = set.collect();
        if !set.is_empty() {
            self.cookies = set.join("; ");
        }
        let page = text(&reply.body).into_owned();
        if let Some((_, rest)) = page.split_once("name=\"csrf\" value=\"") {
            rest.split('"')
                .next()
                .unwrap_or_default()
                .clone_into(&mut self.csrf);
        }
    }

    fn sign_in(&mut self) {
        let form = self.page("GET", "/console/sign-in", "");
        self.remember(&form);
        let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let body = format!(
            "email={}&password={}&csrf={}",
            escaped(EMAIL),
            escaped(PASSWORD),
            escaped(&self.csrf)
        );
        let reply = self.page("POST", "/console/sign-in", &body);
        assert_eq!(reply.status, 303, "{}", reply.head);
        self.remember(&reply);
        let home = self.page("GET", "/console/", "");
        assert_eq!(home.status, 200, "{}", home.head);
        // Cookies stay as they are.
        self.csrf.clear();
        let page = text(&home.body).into_owned();
        let (_, rest) = page
            .split_once("name=\"csrf\" value=\"")
            .expect("a page has forms");
        rest.split('"')
            .next()
            .unwrap_or_default()
            .clone_into(&mut self.csrf);
    }
}

/// Fit for a request line: what is not would be another request.
fn fits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic())
}

/// Lines: method and path; then the body.
pub fn body(data: &[u8]) {
    let (line, body) = first_line(data);
    let (method, path) = line
        .split_once(' ')
        .unwrap_or(("POST", "/setup/user/programmatic"));
    // The administrator and its token stay.
    let harmless = matches!(method, "POST" | "PUT") && path.starts_with('/') && fits(path);
    if harmless && !path.starts_with("/console") {
        SERVER.api(method, path, body);
    }
}

/// A path with its query.
pub fn query(data: &[u8]) {
    let path = text(data);
    if path.starts_with('/') && fits(&path) && !path.starts_with("/console") {
        SERVER.api("GET", &path, b"");
    }
}

/// Lines: a path of the console, then the fields of a form of this session.
pub fn form(data: &[u8]) {
    let (path, fields) = first_line(data);
    let kept = [
        "/console/sign-out",
        "/console/password",
        "/console/settings/users",
    ];
    let under = path.starts_with("/console") && fits(&path);
    if under && !kept.iter().any(|p| path.starts_with(p)) {
        let fields = text(fields);
        let body = format!(
            "csrf={}&{fields}",
            byte_serialize(SERVER.csrf.as_bytes()).collect::<String>()
        );
        SERVER.page("POST", &path, &body);
    }
}

/// Bytes on a connection. The platform ends it, and goes on.
pub fn request(data: &[u8]) {
    let reply = SERVER.send(data, false);
    if let Some(status) = reply.strip_prefix(b"HTTP/1.1 ") {
        assert!(!status.starts_with(b"5"), "{}", text(&reply));
    }
    let reply = SERVER.call("GET", "/healthz", "", b"");
    assert_eq!(reply.status, 200, "{}", reply.head);
}
