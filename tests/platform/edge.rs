//! What anyone may do without a credential, and how much of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::console::{Page, between, open, sign_in, sign_in_by};
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server};
use crate::wait::{SOON, eventually};

/// A client at another address: all of 127.0.0.0/8 are of this machine.
fn client_at(last: u8) -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .local_address(IpAddr::from([127, 0, 0, last]))
        .build()
        .unwrap()
}

async fn connect(server: &Server) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let url = crate::database_url(server.directory.path());
    AnyConnection::connect(&url).await.unwrap()
}

async fn number(conn: &mut AnyConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
}

/// Sends requests, several at once, each by a client of a few.
async fn flood(server: &Server, requests: usize) {
    use futures::StreamExt as _;
    let routes = [
        "GET /setup/user/pu-1",
        "DELETE /setup/user/pu-1",
        "GET /setup/account",
        "POST /setup/account",
        "GET /audit/events",
        "GET /setup/access/userGroup/ug-1",
        "PUT /setup/access/userGroup/ug-1",
        "DELETE /setup/access/userGroup/ug-1",
        "PUT /setup/access/policy/pol-1",
        "DELETE /setup/access/policy/pol-1",
        "PUT /setup/user/pu-1/policyMapping",
    ];
    let send = |n: usize| {
        let (method, path) = routes[n % routes.len()].split_once(' ').unwrap();
        // A token and a path of its own each time, where there is room for one.
        let url = server.url(&path.replace("-1", &format!("-{n}")));
        let request = server.http.request(method.parse().unwrap(), url);
        async move {
            let sent = request.bearer_auth(format!("{n:064}")).send().await;
            sent.unwrap().status()
        }
    };
    let all = futures::stream::iter((0..requests).map(send)).buffer_unordered(16);
    let statuses: Vec<_> = all.collect().await;
    assert!(statuses.iter().all(|s| *s == 401), "{statuses:?}");
}

/// 5,000 refusals over routes and methods, with and without a rate limit: a few rows, which tell of all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refusals_has_few_rows_and_the_right_number() {
    for limit in [0, 100_000] {
        let server = Server::start_with(|c| c.requests_per_minute = limit).await.0;
        flood(&server, 5_000).await;
        let server = Server::open(server.stop().await, |_| ()).await.0;
        let rows = server.events("&actorType=anonymous").await;
        let counted: u64 = rows.iter().map(|e| e["requests"].as_u64().unwrap()).sum();
        let bytes: usize = rows.iter().map(|e| e.to_string().len()).sum();
        println!(
            "limit {limit}: {} rows, {} bytes for {counted} refusals",
            rows.len(),
            bytes
        );
        assert!(rows.len() <= 70, "{}", rows.len());
        assert_eq!(counted, 5_000);
        assert!(rows.iter().all(|e| e["peer"] == "127.0.0.1"));
    }
}

/// The number is there at the end of a window, while the platform runs.
#[tokio::test]
async fn further_refusals_are_written_at_the_end_of_a_window() {
    let server = Server::start_with(|c| c.audit.refusals = Duration::from_millis(200))
        .await
        .0;
    for _ in 0..10 {
        server.get("x", "/setup/account").await.expect(401);
    }
    let all_are_counted = async || {
        let rows = server.events("&actorType=anonymous").await;
        let counted: u64 = rows.iter().map(|e| e["requests"].as_u64().unwrap()).sum();
        (counted == 10).then_some(()).ok_or(format!("{counted}"))
    };
    eventually("ten refusals to be in the audit log", SOON, all_are_counted)
        .await
        .unwrap();
}

/// Rows of a time long ago, as a platform that has run for long has them.
async fn add_old_rows(conn: &mut AnyConnection, rows: i64) {
    for n in 0..rows {
        sqlx::query(
            "INSERT INTO audit (at, actor_name, actor_type, source, agent, action, resource_type, result, status, context,
             request_id) VALUES ($1, 'old', 'system', 'SYSTEM', '', 'old', 'user', 'success', 200, '{}', $2)",
        )
        .bind(n)
        .bind(format!("old-{n}"))
        .execute(&mut *conn)
        .await
        .unwrap();
    }
}

/// The lines of all exported files.
fn exported(folder: &std::path::Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let whole = files.filter(|f| f.path().extension().is_some_and(|e| e == "jsonl"));
    let mut lines = Vec::new();
    for file in whole {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(file.path()).unwrap();
        lines.extend(text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()));
    }
    lines
}

/// Starts with an empty log, ends with old rows in it and a platform that exports them to `folder`.
async fn with_old_rows(folder: &std::path::Path) -> Server {
    let server = Server::start_with(|c| c.audit.retention = None).await.0;
    let mut conn = connect(&server).await;
    // Ids follow each other: the row of the first start is the oldest, and would hold those after it.
    conn.execute("INSERT INTO audit_export (through, file, at) VALUES (1000, '', 0)")
        .await
        .unwrap();
    conn.execute("DELETE FROM audit").await.unwrap();
    conn.execute("DELETE FROM audit_export").await.unwrap();
    add_old_rows(&mut conn, 2_500).await;
    conn.close().await.unwrap();
    let directory = server.stop().await;
    let retain = |c: &mut programmatic_users::server::PlatformConfig| {
        c.audit.export = Some(folder.to_owned());
        c.audit.every = Duration::from_millis(50);
    };
    Server::open(directory, retain).await.0
}

async fn metric(server: &Server, name: &str) -> String {
    let reply = server.http.get(server.url("/metrics")).send().await.unwrap();
    let text = reply.text().await.unwrap();
    let line = text.lines().find(|l| l.contains(name) && !l.starts_with('#'));
    line.unwrap_or_default().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn old_rows_are_in_a_file_before_they_go() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("deep/export");
    let server = with_old_rows(&folder).await;
    let done = async || {
        let exported = metric(&server, "audit_exported_total").await;
        (exported == "2500").then_some(()).ok_or(exported)
    };
    eventually("2500 rows to be exported", SOON, done).await.unwrap();
    let mut conn = connect(&server).await;
    assert_eq!(
        number(&mut conn, "SELECT count(*) FROM audit WHERE action = 'old'").await,
        0
    );
    let mut ids: Vec<_> = exported(&folder).iter().map(|l| l["requestId"].clone()).collect();
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 2_500, "each is whole, once");
    // What is young stays, and the log only grows otherwise.
    server.delete(ADMIN, "/setup/user/pu-0").await.expect(404);
    let refused = conn.execute("DELETE FROM audit").await.unwrap_err().to_string();
    assert!(refused.contains("the audit log is append-only"), "{refused}");
    conn.close().await.unwrap();
}

/// Nothing is deleted that is not in a file; what was written twice is there twice, with the same id.
#[tokio::test]
async fn rows_stay_while_they_cannot_be_exported_and_are_not_lost_by_a_crash() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("export");
    std::fs::write(&folder, "no folder").unwrap();
    let server = with_old_rows(&folder).await;
    let failed = async || {
        let failures = metric(&server, "audit_export_failures_total").await;
        (failures.parse::<u64>().unwrap_or_default() > 1)
            .then_some(())
            .ok_or(failures)
    };
    eventually("failures to be counted", SOON, failed).await.unwrap();
    let mut conn = connect(&server).await;
    let left = "SELECT count(*) FROM audit WHERE action = 'old'";
    assert_eq!(number(&mut conn, left).await, 2_500);
    // The export is written, and what comes after it fails, as after a crash between the two.
    conn.execute("ALTER TABLE audit_export RENAME TO aside")
        .await
        .unwrap();
    std::fs::remove_file(&folder).unwrap();
    let written = async || match exported(&folder).len() {
        0 => Err("nothing yet".to_owned()),
        _ => Ok(()),
    };
    eventually("a file to be written", SOON, written).await.unwrap();
    assert_eq!(number(&mut conn, left).await, 2_500);
    conn.execute("ALTER TABLE aside RENAME TO audit_export")
        .await
        .unwrap();
    let gone = async || match number(&mut connect(&server).await, left).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    };
    eventually("the rows to go", SOON, gone).await.unwrap();
    conn.close().await.unwrap();
    let mut ids: Vec<_> = exported(&folder)
        .iter()
        .map(|l| l["requestId"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2_500);
}

/// Five wrong passwords of a stranger, and then the right one, from elsewhere.
#[tokio::test]
async fn a_client_that_fails_again_and_again_is_limited_and_no_other_is() {
    let server = Server::start().await;
    let stranger = client_at(9);
    let of_stranger = async |password: &str| sign_in_by(&stranger, &server, "", EMAIL, password).await;
    for _ in 0..5 {
        assert_eq!(of_stranger("wrong").await.status, 401);
    }
    let locked = of_stranger(PASSWORD).await;
    assert_eq!(locked.status, 429);
    assert_eq!(locked.headers["retry-after"], "900");
    assert_eq!(sign_in(&server, EMAIL, PASSWORD).await.status, 303);
}

/// A browser with a session has its own count, apart from clients without one: behind one proxy, say.
#[tokio::test]
async fn a_known_browser_is_not_locked_out_by_its_own_network() {
    let server = Server::start().await;
    let device = sign_in(&server, EMAIL, PASSWORD).await.named("device").unwrap();
    for _ in 0..5 {
        assert_eq!(sign_in(&server, EMAIL, "wrong").await.status, 401);
    }
    assert_eq!(sign_in(&server, EMAIL, PASSWORD).await.status, 429);
    let known = async |cookie: &str, email: &str, password: &str| {
        sign_in_by(&server.http, &server, cookie, email, password).await
    };
    let back = known(&device, EMAIL, PASSWORD).await;
    assert_eq!(back.status, 303);
    assert_eq!(
        known(&device, EMAIL, PASSWORD).await.status,
        429,
        "it was replaced"
    );
    // It is bounded too, and is worth nothing for another address.
    let device = back.named("device").unwrap();
    for _ in 0..5 {
        assert_eq!(known(&device, EMAIL, "wrong").await.status, 401);
    }
    assert_eq!(known(&device, EMAIL, PASSWORD).await.status, 429);
    let person = json!({"firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "password": PASSWORD, "role": "user"});
    server.post(ADMIN, "/setup/user", person).await.expect(200);
    let device = sign_in(&server, "ann@example.com", PASSWORD)
        .await
        .named("device")
        .unwrap();
    assert_eq!(known(&device, EMAIL, PASSWORD).await.status, 429);
}

/// Guesses from many networks are slowed together; who is known does not wait.
#[tokio::test]
async fn guesses_from_everywhere_are_bounded() {
    let server = Server::start().await;
    let device = sign_in(&server, EMAIL, PASSWORD).await.named("device").unwrap();
    let mut answers = Vec::new();
    for network in 0..11 {
        let stranger = client_at(100 + network);
        for _ in 0..5 {
            answers.push(sign_in_by(&stranger, &server, "", EMAIL, "wrong").await.status);
        }
    }
    assert_eq!(answers, [vec![401; 50], vec![429; 5]].concat());
    let elsewhere = sign_in_by(&client_at(200), &server, "", EMAIL, PASSWORD).await;
    assert_eq!(
        (elsewhere.status, &elsewhere.headers["retry-after"]),
        (429, &"20".parse().unwrap())
    );
    let known = sign_in_by(&server.http, &server, &device, EMAIL, PASSWORD).await;
    assert_eq!(known.status, 303);
}

/// 40 sign-ins of unknown addresses at one moment: a person waits for the line at most, and what is beyond it is refused at
/// once. The times are of the same moment, so that a busy machine makes all of them longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_strangers_has_a_bounded_line() {
    let server = std::sync::Arc::new(Server::start().await);
    let first = sign_in(&server, EMAIL, PASSWORD).await;
    let device = first.named("device").unwrap();
    // The forms first, so that the passwords come at one moment.
    let mut forms = Vec::new();
    for _ in 0..40 {
        let form = open(server.http.get(server.url("/console/sign-in"))).await;
        let csrf = between(&form.text, "name=\"csrf\" value=\"", "\"").to_owned();
        forms.push((form.cookie().to_owned(), csrf));
    }
    let crowd: Vec<_> = forms
        .into_iter()
        .enumerate()
        .map(|(n, (cookie, csrf))| {
            let post = server
                .http
                .post(server.url("/console/sign-in"))
                .header("cookie", cookie);
            let post = post.header("content-type", "application/x-www-form-urlencoded");
            let body = format!("email=unknown{n}%40example.com&password=wrong&csrf={csrf}");
            tokio::spawn(async move {
                let started = Instant::now();
                let page: Page = open(post.body(body)).await;
                (page, started.elapsed())
            })
        })
        .collect();
    let started = Instant::now();
    let known = sign_in_by(&server.http, &server, &device, EMAIL, PASSWORD).await;
    let waited = started.elapsed();
    assert_eq!(known.status, 303);
    let (mut refused, mut answered) = (Vec::new(), Vec::new());
    for page in crowd {
        let (page, took) = page.await.unwrap();
        match page.status {
            401 => answered.push(took),
            429 => {
                assert_eq!(page.headers["retry-after"], "5");
                refused.push(took);
            }
            status => panic!("{status}: {}", page.text),
        }
    }
    answered.sort_unstable();
    refused.sort_unstable();
    let line = *answered.last().unwrap();
    println!(
        "{} answered, the last in {line:?}; {} refused, half of them in {:?}; a known browser in {waited:?}",
        answered.len(),
        refused.len(),
        refused.get(refused.len() / 2),
    );
    assert!(
        answered.len() >= 18 && refused.len() >= 10,
        "{answered:?} {refused:?}"
    );
    assert!(refused[refused.len() / 2] < line / 2, "{refused:?} {line:?}");
    // Its own hash, and what a form takes, come after the line.
    assert!(waited < line * 2, "{waited:?} {line:?}");
}

/// Attempts of one network, however they end: with a token for a password they cost no hash, and all come in one minute.
#[tokio::test]
async fn sign_ins_of_one_network_are_limited_without_a_rate_limit_too() {
    let server = Server::start_with(|c| c.requests_per_minute = 0).await.0;
    let mut answers = Vec::new();
    for _ in 0..61 {
        answers.push(sign_in(&server, EMAIL, ADMIN).await.status);
    }
    assert_eq!(answers, [vec![403; 60], vec![429]].concat());
    let elsewhere = sign_in_by(&client_at(9), &server, "", EMAIL, PASSWORD).await;
    assert_eq!(elsewhere.status, 303);
}

/// What the server says to raw bytes, until it closes the connection.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut reply)).await;
    read.expect("the connection is closed").unwrap();
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn contradictory_lengths_are_refused() {
    let server = Server::start().await;
    let (_, token) = server.user("viewer", A).await;
    let head = format!("PUT /setup/account/{A} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let body = "\r\n2\r\n{}\r\n0\r\n\r\n";
    for framing in [
        format!("Content-Length: 12\r\n{chunked}{body}"),
        format!("{chunked}content-length: 12\r\n{body}"),
        format!("CONTENT-LENGTH: 12\r\nX: y\r\n{chunked}Content-Length: 12\r\n{body}"),
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_owned(),
        format!("Content-Length : 12\r\n{chunked}{body}"),
        format!("Transfer-Encoding: chunked, identity\r\n{body}"),
    ] {
        let reply = raw(server.address, format!("{head}{framing}").as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{framing:?}: {reply}");
        assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{framing:?}: {reply}");
    }
    // Each alone is taken, also one after the other.
    let both = format!("{head}Content-Length: 2\r\n\r\n{{}}{head}Connection: close\r\n{chunked}{body}");
    let reply = raw(server.address, both.as_bytes()).await;
    assert_eq!(reply.matches("HTTP/1.1 403 ").count(), 2, "{reply}");
    let events = server.events("").await;
    assert!(
        !events
            .iter()
            .any(|e| e["actionType"] == "updateAccount" && e["result"] == "success")
    );
}

/// Connections that send a byte now and then, or nothing, hold their own share and no more.
#[tokio::test]
async fn slow_connections_of_one_peer_do_not_delay_other_peers() {
    let server = Server::start_with(|c| c.max_connections = 8).await.0;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        // It may be closed already.
        let _ = stream.write_all(b"GET /setup/account HTTP/1.1\r\nHost: ").await;
        slow.push(stream);
    }
    // Half of the connections are this peer's; the others are closed at once.
    for stream in &mut slow[4..] {
        let closed = tokio::time::timeout(SOON, stream.read(&mut [0; 1]))
            .await
            .unwrap();
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
    for _ in 0..3 {
        server.get(ADMIN, "/setup/account").await.expect(200);
    }
    // They are closed when they have had their time, without an answer, and their places are free.
    for stream in &mut slow[..4] {
        let end = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut [0; 64])).await;
        assert!(matches!(end.unwrap(), Ok(0) | Err(_)));
    }
    let again = client_at(9).get(server.url("/healthz")).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 200);
}

/// A page of a person who is signed in.
async fn page(server: &Server, cookie: &str, path: &str) -> Page {
    open(server.http.get(server.url(path)).header("cookie", cookie)).await
}

async fn post(server: &Server, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Page {
    let home = page(server, cookie, "/console").await;
    let csrf = between(&home.text, "name=\"csrf\" value=\"", "\"").to_owned();
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .append_pair("csrf", &csrf)
        .finish();
    let post = server.http.post(server.url(path)).header("cookie", cookie);
    open(
        post.header("content-type", "application/x-www-form-urlencoded")
            .body(body),
    )
    .await
}

#[tokio::test]
async fn a_session_ends_without_a_use_and_goes_on_with_one() {
    let server = Server::start().await;
    let cookie = sign_in(&server, EMAIL, PASSWORD).await.session();
    let mut conn = connect(&server).await;
    // It was used a while ago, and is used again.
    conn.execute(
        "UPDATE console_session SET last_used_at = last_used_at - 600000, idle_at = idle_at - 600000",
    )
    .await
    .unwrap();
    let idle = "SELECT idle_at - last_used_at FROM console_session";
    let until = "SELECT idle_at FROM console_session";
    let before = number(&mut conn, until).await;
    assert_eq!(page(&server, &cookie, "/console").await.status, 200);
    assert!(number(&mut conn, until).await >= before + 600_000);
    assert_eq!(number(&mut conn, idle).await, 30 * 60_000);
    conn.execute("UPDATE console_session SET idle_at = last_used_at - 1")
        .await
        .unwrap();
    assert_eq!(page(&server, &cookie, "/console").await.status, 303);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_person_sees_and_ends_their_own_sessions_only() {
    let server = Server::start().await;
    let person = json!({"firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "password": PASSWORD, "role": "user"});
    server.post(ADMIN, "/setup/user", person).await.expect(200);
    let ann = sign_in(&server, "ann@example.com", PASSWORD).await.session();
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(sign_in(&server, EMAIL, PASSWORD).await.session());
    }
    let is_open = async |cookie: &str| page(&server, cookie, "/console").await.status == 200;
    let shown = page(&server, &own[0], "/console/own/sessions").await;
    assert_eq!(shown.text.matches("/end\"").count(), 3, "{}", shown.text);
    assert!(shown.text.contains("this one") && shown.text.contains("127.0.0.1"));
    // Ann's are not among them, and cannot be ended by who is not Ann.
    let listed = server.get(ADMIN, "/setup/user/session").await.expect(200);
    assert_eq!(listed.items().len(), 3);
    let anns = page(&server, &ann, "/console/own/sessions").await;
    assert!(!anns.text.contains("/end\""));
    let id = listed.items()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        post(&server, &ann, &format!("/console/own/sessions/{id}/end"), &[])
            .await
            .status,
        303
    );
    assert_eq!(server.get(ADMIN, "/setup/user/session").await.items().len(), 3);
    server
        .delete(ADMIN, &format!("/setup/user/session/{id}"))
        .await
        .expect(200);
    assert_eq!(server.get(ADMIN, "/setup/user/session").await.items().len(), 2);
    let done = post(&server, &own[0], "/console/own/sessions/others/end", &[]).await;
    assert_eq!(done.status, 303);
    assert!(is_open(&own[0]).await && is_open(&ann).await);
    assert!(!is_open(&own[1]).await && !is_open(&own[2]).await);
    let (_, token) = server.user("viewer", A).await;
    server.get(&token, "/setup/user/session").await.expect(403);
}

#[tokio::test]
async fn a_person_changes_their_own_password() {
    let server = Server::start().await;
    let here = sign_in(&server, EMAIL, PASSWORD).await.session();
    let elsewhere = sign_in(&server, EMAIL, PASSWORD).await.session();
    let change = async |current: &str, new: &str, again: &str| {
        let fields = [("current", current), ("new", new), ("again", again)];
        post(&server, &here, "/console/own/password", &fields).await
    };
    let new = "another battery";
    for (current, new, again, words) in [
        (PASSWORD, new, "typed otherwise", "The new passwords differ"),
        ("wrong", new, new, "currentPassword"),
        (PASSWORD, "short", "short", "length must be between 8 and 128"),
    ] {
        let refused = change(current, new, again).await;
        assert!(
            refused.status == 400 && refused.text.contains(words),
            "{}",
            refused.text
        );
    }
    assert_eq!(page(&server, &elsewhere, "/console").await.status, 200);
    let changed = change(PASSWORD, new, new).await;
    assert!(changed.status == 200 && changed.text.contains("The password was changed"));
    assert_eq!(page(&server, &here, "/console").await.status, 200);
    assert_eq!(page(&server, &elsewhere, "/console").await.status, 303);
    assert_eq!(sign_in(&server, EMAIL, PASSWORD).await.status, 401);
    assert_eq!(sign_in(&server, EMAIL, new).await.status, 303);
    let events = server.events("").await;
    let rows = events.iter().filter(|e| e["actionType"] == "updatePassword");
    let results: Vec<_> = rows.map(|e| e["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["failed", "failed", "success"]);
    // A token is no way around the current password, and does not guess it.
    let wrong = json!({"currentPassword": "wrong", "newPassword": "stolen battery"});
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(
            server
                .put(ADMIN, "/setup/user/password", wrong.clone())
                .await
                .status,
        );
    }
    assert_eq!(answers, [400, 400, 400, 400, 400, 429]);
    let (_, token) = server.user("viewer", A).await;
    server
        .put(&token, "/setup/user/password", wrong)
        .await
        .expect(403);
}
