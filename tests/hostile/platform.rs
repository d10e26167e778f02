//! One of three organizations is behind a server that answers whatever comes to its mind.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Api;
use programmatic_users::api::{
    CREDENTIAL_ORGANIZATION_ANNOTATION, Organization, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::measure::{Other, Tally, Times, check_operator, compare};
use crate::span;
use crate::support::builders::{organization, permissive_class};
use crate::support::schema::Random;
use crate::support::{Cluster, Operator, PAYMENTS, Platform, World, platform};

/// Lives of others that are measured in peace, in each of the two organizations.
const PEACE: usize = 6;
/// And at most under attack.
const WAR: usize = 40;
/// Users of the hostile platform's organization.
const USERS: usize = 12;

const JSON: &str = "content-type: application/json\r\n";
const DATES: [&str; 8] = [
    "Thu, 31 Dec 9998 23:59:59 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Sun, 06 Nov 2094 08:49:37 GMT",
    "Wed, 30 Feb 2026 24:61:61 GMT",
    "9999-12-31T23:59:59Z",
    "",
];

/// A server that is no platform.
struct Liar {
    address: SocketAddr,
    tally: Arc<Tally>,
    /// A server that must not be called because this one says so.
    lure: String,
    random: Mutex<Random>,
    users: AtomicU64,
    /// Nothing but good answers, as long as users are made.
    honest: std::sync::atomic::AtomicBool,
}

/// Method and path of a request, once all of it has come.
async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut all = Vec::new();
    let mut part = [0; 8192];
    loop {
        if let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            if all.len() >= end + 4 + length.unwrap_or(0) {
                let line = String::from_utf8_lossy(&all[..end]).into_owned();
                let mut words = line.split(' ');
                return Some((words.next()?.to_owned(), words.next()?.to_owned()));
            }
        }
        match stream.read(&mut part).await {
            Ok(n) if n > 0 => all.extend_from_slice(&part[..n]),
            _ => return None,
        }
    }
}

fn envelope(items: &Value) -> String {
    json!({"response": {"status": {"code": 200, "message": "OK"}, "items": items}}).to_string()
}

impl Liar {
    async fn start(lure: &str) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let liar = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            tally: Arc::default(),
            lure: lure.to_owned(),
            random: Mutex::new(Random::new(23)),
            users: AtomicU64::new(0),
            honest: true.into(),
        });
        let server = liar.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.answer(stream).await });
            }
        });
        liar
    }

    fn below(&self, n: usize) -> usize {
        self.random.lock().unwrap().below(n)
    }

    /// What a platform would say, with times and numbers of its own.
    fn good(&self, method: &str, path: &str) -> String {
        let at = [
            "0001-01-01T00:00:00.000+0000",
            "2026-01-05T10:11:12.000+0000",
            "9999-12-31T23:59:59.999+0000",
            "x",
        ];
        let at = at[if self.is_honest() { 1 } else { self.below(at.len()) }];
        match (method, path.split('?').next().unwrap_or_default()) {
            ("POST", _) => {
                let n = self.users.fetch_add(1, Ordering::Relaxed);
                envelope(&json!([{"id": format!("pu-{n}"), "name": "x", "token": platform::fresh_token()}]))
            }
            ("GET", "/setup/account") => envelope(&json!([{"accountId": PAYMENTS, "name": "payments"}])),
            ("GET", path) if path.starts_with("/setup/user/") => {
                let id = path.rsplit('/').next().unwrap_or_default();
                envelope(
                    &json!([{"userId": id, "username": "x", "type": "programmatic", "tokens": [{"createdAt": at}]}]),
                )
            }
            ("GET", "/setup/organization/policy") => {
                envelope(&json!([{"id": "3", "name": "viewer", "type": "ACCOUNT"}]))
            }
            ("GET", _) => envelope(&json!([])),
            _ => envelope(&Value::Null),
        }
    }

    fn is_honest(&self) -> bool {
        self.honest.load(Ordering::Relaxed)
    }

    /// A body of this many bytes, which looks like a list for as long as it goes on.
    fn large(&self, bytes: usize) -> String {
        let (begin, one, end) = match self.below(4) {
            0 => (
                r#"{"response":{"status":{"code":200,"message":"OK"},"items":[{"id":"3","name":"x","policyContent":["#,
                "0,",
                r"0]}]}}",
            ),
            1 => (
                r#"{"response":{"status":{"code":200,"message":"OK"},"items":["#,
                r#"{"userId":"u-1","type":"personal"},"#,
                r#"{"userId":"u-1","type":"personal"}]}}"#,
            ),
            2 => (
                r#"{"response":{"status":{"code":200,"message":""#,
                "xxxxxxxxxxxxxxxx",
                r#""},"items":[]}}"#,
            ),
            _ => (r#"{"response":"#, "[[[[[[[[", "0"),
        };
        format!("{begin}{}{end}", one.repeat(bytes / one.len()))
    }

    /// A reply with a time that cannot be right, unless this platform is honest.
    fn reply(&self, status: &str, headers: &str, body: &str) -> String {
        let date = if self.is_honest() {
            String::new()
        } else {
            format!("date: {}\r\n", DATES[self.below(DATES.len())])
        };
        format!(
            "HTTP/1.1 {status}\r\n{date}{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    async fn answer(&self, mut stream: TcpStream) {
        let Some((method, path)) = read_request(&mut stream).await else {
            return;
        };
        let what = if self.is_honest() { 0 } else { self.below(24) };
        let body = self.good(&method, &path);
        let name = match what {
            0..=8 => {
                let _ = stream
                    .write_all(self.reply("200 OK", JSON, &body).as_bytes())
                    .await;
                "good answers with wrong times"
            }
            9 => {
                let bytes = 1 << (10 + self.below(17));
                let text = self.reply("200 OK", JSON, &self.large(bytes));
                let _ = stream.write_all(text.as_bytes()).await;
                "answers of up to 64 MiB"
            }
            10 | 11 => {
                let wrong = [
                    "null",
                    "[]",
                    "{}",
                    "\"x\"",
                    "{\"response\":{\"status\":{\"code\":200,\"message\":\"OK\"},\"items\":{\"a\":1}}}",
                    "{\"response\":{\"status\":{\"code\":1e9,\"message\":1},\"items\":[null]}}",
                    "\u{0}\u{1}",
                ];
                let text = self.reply("200 OK", JSON, wrong[self.below(wrong.len())]);
                let _ = stream.write_all(text.as_bytes()).await;
                "answers of another shape"
            }
            12 | 13 => {
                let headers = format!("location: {}{path}\r\n", self.lure);
                let status = ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"][self.below(4)];
                let _ = stream
                    .write_all(self.reply(status, &headers, "").as_bytes())
                    .await;
                "redirects"
            }
            14 => {
                let text = self.reply("200 OK", JSON, &body);
                let _ = stream.write_all(&text.as_bytes()[..text.len() / 2]).await;
                "halves of answers"
            }
            15 => {
                for byte in self.reply("200 OK", JSON, &body).bytes().take(200) {
                    if stream.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    sleep(Duration::from_millis(200)).await;
                }
                "answers of five bytes a second"
            }
            _ => self.answer_strangely(what, &mut stream, &body).await,
        };
        self.tally.count(name, true);
        let _ = stream.shutdown().await;
    }

    /// An answer that is none of HTTP's, or of this API's.
    async fn answer_strangely(&self, what: usize, stream: &mut TcpStream, body: &str) -> &'static str {
        match what {
            16 => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0; 1]).await;
                "no answers"
            }
            17 => {
                let kinds = [
                    "content-type: text/html\r\n",
                    "content-encoding: gzip\r\n",
                    "content-type: application/json; charset=utf-16\r\n",
                ];
                let text = self.reply("200 OK", kinds[self.below(3)], "<html>\u{1f980}</html>");
                let _ = stream.write_all(text.as_bytes()).await;
                "answers of another type"
            }
            18 | 19 => {
                let status = [
                    "100 Continue",
                    "204 No Content",
                    "401 Unauthorized",
                    "403 Forbidden",
                    "404 Not Found",
                    "409 Conflict",
                    "418 Teapot",
                    "500 Error",
                    "503 Unavailable",
                    "599 X",
                    "999 X",
                ];
                let text = self.reply(status[self.below(status.len())], JSON, body);
                let _ = stream.write_all(text.as_bytes()).await;
                "other status"
            }
            20 => {
                let headers = [
                    "retry-after: 0\r\n",
                    "retry-after: 1\r\n",
                    "x-ratelimit-reset: 2\r\n",
                    "retry-after: -1\r\n",
                ];
                let text = self.reply(
                    "429 Too Many",
                    headers[self.below(4)],
                    r#"{"response":{"data":"slow"}}"#,
                );
                let _ = stream.write_all(text.as_bytes()).await;
                "refusals for too many calls"
            }
            21 => {
                let headers = (0..90).fold(String::new(), |headers, n| {
                    headers + &format!("x-{n}: {}\r\n", "y".repeat(3000))
                });
                let _ = stream
                    .write_all(self.reply("200 OK", &headers, body).as_bytes())
                    .await;
                "answers of 270 kB of headers"
            }
            22 => {
                let _ = stream
                    .write_all(b"\x16\x03\x01\x00\x00HTTP/9.9 -1 \xff\r\n\r\n")
                    .await;
                "what is not HTTP"
            }
            _ => {
                let text =
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"res\r\nfffffffffffffff\r\n";
                let _ = stream.write_all(text.as_bytes()).await;
                "chunks without an end"
            }
        }
    }
}

/// An organization at this URL, with the credential of the world's, and its class.
async fn join(world: &World, name: &str, url: &str, token: &str) {
    let secret_name = name.to_owned();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"token": token},
        "metadata": {
            "name": secret_name, "namespace": world.operator_namespace(),
            "annotations": {CREDENTIAL_ORGANIZATION_ANNOTATION: name},
        },
    });
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret).unwrap();
    world.apply(&secret).await.unwrap();
    let mut organization = organization(name, url, "5s");
    organization.spec.credentials.secret_name = secret_name;
    organization.spec.endpoint.timeout = programmatic_users::api::Duration::parse("5s");
    world.apply(&organization).await.unwrap();
    world
        .apply(&permissive_class(name, name, world.namespaces()))
        .await
        .unwrap();
}

/// Tokens of the hostile platform's users are replaced and revoked all the time.
async fn churn(world: &World, until: Instant) {
    let mut tick = interval(Duration::from_millis(150));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0_usize.. {
        tick.tick().await;
        if Instant::now() >= until {
            break;
        }
        let annotation = [ROTATE_AT_ANNOTATION, REVOKE_NOW_ANNOTATION][n / USERS % 2];
        let patch = json!({"metadata": {"annotations": {annotation: format!("{n}")}}});
        world
            .change(&format!("hostile-{}", n % USERS), patch)
            .await
            .unwrap();
    }
}

/// What others do, in two organizations in turn.
async fn lives(others: &[Other<'_>], label: &str, most: usize, until: Option<Instant>) -> Times {
    let mut times = Times::default();
    let mut tick = interval(until.map_or(Duration::from_millis(1), |_| span() / u32::try_from(WAR).unwrap()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for i in 0..most {
        tick.tick().await;
        if i >= PEACE && until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        for (n, other) in others.iter().enumerate() {
            other.live(&format!("{label}-{i}-{n}"), &mut times).await;
        }
    }
    times
}

pub async fn attack() {
    let world = World::builder("hostile-platform")
        .on(Cluster::private("hostile-platform").await)
        .drift("5s")
        .platform_flags(&["--rate-limit", "0"])
        .controller_stopped()
        .start()
        .await;
    let options = platform::Options {
        address: "127.0.0.1".to_owned(),
        organization: "Second".to_owned(),
        accounts: vec![(PAYMENTS.to_owned(), "payments".to_owned())],
        flags: vec!["--rate-limit".to_owned(), "0".to_owned()],
        database: None,
    };
    let second = Platform::start(&world.dir().join("second"), options)
        .await
        .unwrap();
    let liar = Liar::start(second.url()).await;
    let names = [world.unique("second"), world.unique("hostile")];
    join(&world, &names[0], second.url(), &second.admin_token).await;
    join(
        &world,
        &names[1],
        &format!("http://{}", liar.address),
        &platform::fresh_token(),
    )
    .await;
    let mut options = world.controller().options().clone();
    options.organizations.extend(names.clone());
    let operator = Operator::start(world.dir(), "three", options).await.unwrap();
    let id = operator.id().await.unwrap();
    let others = [
        Other {
            world: &world,
            class: world.class_name(),
            platform: world.platform(),
        },
        Other {
            world: &world,
            class: &names[0],
            platform: &second,
        },
    ];
    for n in 0..USERS {
        let window = json!({"every": "1h", "overlap": "1m", "windows": [{"cron": "* * * * *", "timeZone": "Europe/Berlin", "duration": "1h"}]});
        let user = world
            .user(&format!("hostile-{n}"))
            .viewer(PAYMENTS)
            .class(&names[1]);
        user.with(|spec| spec.rotation = serde_json::from_value(window).ok())
            .apply()
            .await;
    }
    for n in 0..USERS {
        world.ready(&format!("hostile-{n}")).await;
    }
    lives(&others, "warm", 1, None).await;
    let quiet = lives(&others, "quiet", PEACE, None).await;
    liar.honest.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    let until = begun + span();
    let (hostile, ()) = tokio::join!(lives(&others, "attacked", WAR, Some(until)), churn(&world, until));
    println!(
        "a hostile platform for {} s, one of three\n| what it answered | | |\n|---|---|---|",
        begun.elapsed().as_secs()
    );
    liar.tally.print(["times", ""]);
    let organizations: Api<Organization> = Api::all(world.client());
    let asked = organizations.get(&names[1]).await.unwrap();
    println!(
        "its organization says: {:?}",
        asked.status.map(|s| s
            .conditions
            .into_iter()
            .map(|c| format!("{} {}", c.type_, c.reason))
            .collect::<Vec<_>>())
    );
    check_operator(&operator, id).await;
    assert!(
        liar.tally.taken("answers of another shape") > 0,
        "it answered nothing: no attack"
    );
    compare(&quiet, &hostile, 2.0, &["create", "rotate", "revoke"]);
    operator.stop().await;
}
