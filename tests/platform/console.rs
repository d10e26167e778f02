//! The console is for people: programmatic users and tokens stay outside.

use serde_json::json;
use sqlx::{Connection as _, Executor as _};

use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server};

pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) cookies: Vec<String>,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Page {
    /// The first cookie that was set, as it is sent back.
    pub(crate) fn cookie(&self) -> &str {
        self.cookies[0].split(';').next().unwrap()
    }

    /// The cookie of a session that began.
    pub(crate) fn session(&self) -> String {
        self.named("session").unwrap()
    }

    /// A cookie that was set, with the prefix that it has by TLS or without it.
    pub(crate) fn named(&self, name: &str) -> Option<String> {
        let of = |c: &&String| c.trim_start_matches("__Host-").starts_with(&format!("{name}="));
        let set = self.cookies.iter().find(of)?;
        Some(set.split(';').next().unwrap().to_owned())
    }
}

pub(crate) async fn open(request: reqwest::RequestBuilder) -> Page {
    let reply = request.send().await.unwrap();
    let headers = reply.headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'")
            && policy.contains("script-src 'self';")
            && !policy.contains("unsafe")
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
    let cookies = headers
        .get_all("set-cookie")
        .iter()
        .map(|v| v.to_str().unwrap().to_owned())
        .collect();
    Page {
        status: reply.status().as_u16(),
        cookies,
        headers,
        text: reply.text().await.unwrap(),
    }
}

pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before)
        .and_then(|(_, rest)| rest.split_once(after))
        .map(|(found, _)| found)
        .unwrap()
}

pub(crate) async fn sign_in(server: &Server, email: &str, password: &str) -> Page {
    sign_in_by(&server.http, server, "", email, password).await
}

/// The same by a client of its own, with another cookie beside that of the form.
pub(crate) async fn sign_in_by(
    http: &reqwest::Client,
    server: &Server,
    beside: &str,
    email: &str,
    password: &str,
) -> Page {
    let form = open(http.get(server.url("/console/sign-in"))).await;
    let csrf = between(&form.text, "name=\"csrf\" value=\"", "\"").to_owned();
    let cookie = format!("{}; {beside}", form.cookie());
    let fields = [("email", email), ("password", password), ("csrf", csrf.as_str())];
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let post = http.post(server.url("/console/sign-in")).header("cookie", cookie);
    open(
        post.header("content-type", "application/x-www-form-urlencoded")
            .body(body),
    )
    .await
}

#[tokio::test]
async fn people_sign_in_and_out() {
    let server = Server::start().await;
    assert_eq!(open(server.http.get(server.url("/console"))).await.status, 303);
    assert_eq!(sign_in(&server, EMAIL, "wrong").await.status, 401);
    let signed_in = sign_in(&server, "Admin@Example.com", PASSWORD).await;
    assert_eq!(signed_in.status, 303);
    let set = signed_in
        .cookies
        .iter()
        .find(|c| c.starts_with("session="))
        .unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("Secure"));
    let cookie = &signed_in.session();
    let home = open(server.http.get(server.url("/console/")).header("cookie", cookie)).await;
    assert!(home.status == 200 && home.text.contains(EMAIL));

    // The session opens no route of the API.
    let api = server
        .http
        .get(server.url("/setup/organization/user"))
        .header("cookie", cookie);
    let refused = server.send(api).await.expect(401);
    assert!(refused.error().1.contains("use a token"));

    let out = |csrf: &str| {
        let post = server
            .http
            .post(server.url("/console/sign-out"))
            .header("cookie", cookie);
        open(
            post.header("content-type", "application/x-www-form-urlencoded")
                .body(format!("csrf={csrf}")),
        )
    };
    assert_eq!(out("0").await.status, 403);
    assert_eq!(
        out(between(&home.text, "name=\"csrf\" value=\"", "\""))
            .await
            .status,
        303
    );
    assert_eq!(
        open(server.http.get(server.url("/console")).header("cookie", cookie))
            .await
            .status,
        303
    );
    let actions: Vec<_> = server
        .events("")
        .await
        .iter()
        .skip(1)
        .map(|e| {
            format!(
                "{} {} {} {}",
                e["actorType"].as_str().unwrap(),
                e["source"].as_str().unwrap(),
                e["actionType"].as_str().unwrap(),
                e["responseStatus"]
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            "UI UI signIn 401",
            "UI UI signIn 200",
            "UI UI describeOrganizationUsers 401",
            "UI UI signOut 403",
            "UI UI signOut 200",
        ]
    );
}

#[tokio::test]
async fn programmatic_users_have_no_access() {
    let server = Server::start().await;
    let (id, token) = server.user("editor", A).await;
    let words = "Programmatic users have no access to the console";
    for path in ["/console", "/console/sign-in", "/console/anything"] {
        let page = open(server.http.get(server.url(path)).bearer_auth(&token)).await;
        assert!(
            page.status == 403 && page.text.contains(words),
            "{path}: {}",
            page.text
        );
    }
    for (email, password) in [
        (EMAIL, token.as_str()),
        (token.as_str(), "x"),
        ("ci@example.com", token.as_str()),
    ] {
        let page = sign_in(&server, email, password).await;
        assert!(page.status == 403 && page.text.contains(words) && !page.text.contains(&token));
        assert!(!page.cookies.iter().any(|c| c.starts_with("session=")));
    }
    assert_eq!(sign_in(&server, &id, PASSWORD).await.status, 401);
    let refused = server.events("&actorType=programmatic").await;
    assert_eq!(refused.len(), 6);
    assert!(
        refused
            .iter()
            .all(|e| e["actorId"] == json!(id) && e["result"] == "refused" && e["source"] == "UI")
    );
    // A person's token does not open it either.
    assert_eq!(
        open(server.http.get(server.url("/console")).bearer_auth(ADMIN))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn failures_lock_known_and_unknown_addresses_alike() {
    let server = Server::start().await;
    for email in [EMAIL, "unknown@example.com"] {
        for _ in 0..5 {
            assert_eq!(sign_in(&server, email, "wrong").await.status, 401);
        }
        assert_eq!(sign_in(&server, email, PASSWORD).await.status, 429);
    }
}

/// Sent all at once, they are no more than they would be one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_one_moment_are_counted_each() {
    let server = std::sync::Arc::new(Server::start().await);
    let guesses: Vec<_> = (0..20)
        .map(|n| {
            let server = server.clone();
            tokio::spawn(async move { sign_in(&server, EMAIL, &format!("wrong {n}")).await.status })
        })
        .collect();
    let mut answers = Vec::new();
    for guess in guesses {
        answers.push(guess.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [vec![401; 5], vec![429; 15]].concat());
}

/// What costs a write each time is limited, and a flood of it does not fill the log.
#[tokio::test]
async fn knocks_are_limited() {
    let server = Server::start_with(|c| c.requests_per_minute = 3).await.0;
    let mut answers = Vec::new();
    for (method, path) in [
        ("GET", "/console"),
        ("POST", "/console/settings"),
        ("RANDOM1", "/console"),
        ("RANDOM2", "/console"),
        ("GET", "/console"),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let knock = server.http.request(method, server.url(path)).bearer_auth("x");
        answers.push(open(knock).await.status);
    }
    assert_eq!(answers, [403, 403, 403, 429, 429], "whatever the method");
    // What another site makes a browser send comes without the cookie, and uses nothing up.
    for _ in 0..4 {
        let elsewhere = server.http.post(server.url("/console/sign-in"));
        let form = elsewhere.header("content-type", "application/x-www-form-urlencoded");
        let sent = form.body("email=a%40example.com&password=wrong&csrf=0");
        assert_eq!(open(sent).await.status, 403);
    }
    for expected in [401, 401, 401, 429] {
        assert_eq!(sign_in(&server, "a@example.com", "wrong").await.status, expected);
    }
    // What is counted together is written at the end, too.
    let (server, _) = Server::open(server.stop().await, |_| ()).await;
    let events = server.events("").await;
    let of = |action: &str| -> u64 {
        let rows = events.iter().filter(|e| e["actionType"] == action);
        rows.map(|e| e["requests"].as_u64().unwrap()).sum()
    };
    assert_eq!((of("openConsole"), of("signIn")), (3, 3));
}

#[tokio::test]
async fn a_person_with_one_account_begins_with_it() {
    let server = Server::start().await;
    let person = json!({"firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "password": PASSWORD, "role": "user"});
    let made = server.post(ADMIN, "/setup/user", person).await.expect(200);
    let id = made.item()["userId"].as_str().unwrap();
    let mapping = json!({"policies": [{"policyId": "3", "accountIds": [A]}]});
    server
        .put(ADMIN, &format!("/setup/user/{id}/policyMapping"), mapping)
        .await
        .expect(200);
    for (email, place) in [
        (EMAIL, "/console/settings/organization/programmatic-users"),
        ("ann@example.com", "/console/settings/account"),
    ] {
        let cookie = sign_in(&server, email, PASSWORD).await.session();
        let settings = server.http.get(server.url("/console/settings"));
        let sent = settings.header("cookie", cookie).send().await.unwrap();
        assert_eq!(sent.headers()["location"], place, "{email}");
    }
}

#[tokio::test]
async fn a_form_from_elsewhere_is_refused() {
    let server = Server::start_with(|c| c.secure_cookies = true).await.0;
    let post = server
        .http
        .post(server.url("/console/sign-in"))
        .header("content-type", "application/x-www-form-urlencoded");
    let page = open(post.body("email=a&password=b&csrf=")).await;
    assert!(page.status == 403 && page.cookies.iter().all(|c| c.contains("; Secure")));
}

fn form(request: reqwest::RequestBuilder, cookie: &str, body: &str) -> reqwest::RequestBuilder {
    let request = request.header("cookie", cookie);
    let kind = "application/x-www-form-urlencoded";
    request.header("content-type", kind).body(body.to_owned())
}

/// What no page of the session sent is on record, whatever it asks for; as much of it as of anything that is refused.
#[tokio::test]
async fn forged_forms_are_on_record() {
    let server = Server::start_with(|c| c.requests_per_minute = 3).await.0;
    let (id, _) = server.user("viewer", A).await;
    let cookie = sign_in(&server, EMAIL, PASSWORD).await.session();
    let paths = [
        "/console/settings/organization/programmatic-users/add".to_owned(),
        format!("/console/settings/users/{id}/delete"),
        "/console/sign-out".to_owned(),
        "/console/sign-out".to_owned(),
    ];
    let mut answers = Vec::new();
    for path in &paths {
        let post = server.http.post(server.url(path));
        answers.push(open(form(post, &cookie, "csrf=0&name=n&number=1")).await.status);
    }
    assert_eq!(answers, [403, 403, 403, 429]);
    let mut events = server.events("&actorType=ui").await;
    events.retain(|e| e["result"] == "refused" && e["source"] == "UI" && e["responseStatus"] == 403);
    let actions: Vec<_> = events.iter().map(|e| e["actionType"].as_str().unwrap()).collect();
    assert_eq!(actions, ["createProgrammaticUser", "deleteUser", "signOut"]);
}

/// A refused form created no user, and a page that is loaded again does not say that it did.
#[tokio::test]
async fn a_refused_form_that_is_sent_again_tells_of_no_token() {
    let server = Server::start_with(|c| c.requests_per_minute = 1).await.0;
    // The one creation of this minute.
    server.user("viewer", A).await;
    let cookie = sign_in(&server, EMAIL, PASSWORD).await.session();
    let home = open(server.http.get(server.url("/console")).header("cookie", &cookie)).await;
    let csrf = between(&home.text, "name=\"csrf\" value=\"", "\"");
    let body = format!("csrf={csrf}&number=1&name=late&role=viewer&accounts={A}");
    let path = "/console/settings/organization/programmatic-users/add";
    let send = async || open(form(server.http.post(server.url(path)), &cookie, &body)).await;
    assert_eq!(send().await.status, 429);
    let again = send().await;
    assert_eq!(again.status, 409);
    for words in [
        "nothing was done now",
        "If it made a user",
        "If it was refused, there is no user",
    ] {
        assert!(again.text.contains(words), "{words}: {}", again.text);
    }
    let users = server.get(ADMIN, "/setup/organization/user").await.expect(200);
    assert_eq!(users.items().len(), 2, "the administrator and the viewer");
}

/// In an account nothing is offered that is not for accounts; beside what is for the organization it says so.
#[tokio::test]
async fn the_forms_offer_applicable_policies_only() {
    let server = Server::start().await;
    let allow = json!([{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]);
    let narrow = server.policy("ACCOUNT", allow.clone()).await;
    let wide = server.policy("ORGANIZATION", allow).await;
    let cookie = sign_in(&server, EMAIL, PASSWORD).await.session();
    let page = async |path: &str| {
        let request = server.http.get(server.url(path)).header("cookie", &cookie);
        open(request).await.text
    };
    let in_account = page(&format!("/console/settings/account/{A}/programmatic-users/add")).await;
    let everywhere = page("/console/settings/organization/programmatic-users/add").await;
    let offers = |text: &str, id: &str| text.contains(&format!("name=\"policies\" value=\"{id}\""));
    for (id, applicable) in [
        ("1", true),
        ("2", true),
        ("8", false),
        (narrow.as_str(), true),
        (wide.as_str(), false),
    ] {
        assert_eq!(offers(&in_account, id), applicable, "{id}");
        assert!(offers(&everywhere, id), "{id}");
    }
    let beside = "whole organization, unless accounts are chosen";
    assert!(!in_account.contains(beside));
    assert_eq!(everywhere.matches(beside).count(), 5, "four are built in");
}

/// A session begins and ends with its row in the audit log, or not at all.
#[tokio::test]
async fn a_sign_in_that_cannot_be_audited_opens_and_ends_no_session() {
    let server = Server::start().await;
    let cookie = sign_in(&server, EMAIL, PASSWORD).await.session();
    let home = || open(server.http.get(server.url("/console")).header("cookie", &cookie));
    let csrf = between(&home().await.text, "name=\"csrf\" value=\"", "\"").to_owned();
    let out = || {
        let post = server.http.post(server.url("/console/sign-out"));
        open(form(post, &cookie, &format!("csrf={csrf}")))
    };
    sqlx::any::install_default_drivers();
    let url = crate::database_url(server.directory.path());
    let mut conn = sqlx::AnyConnection::connect(&url).await.unwrap();
    conn.execute("ALTER TABLE audit RENAME TO aside").await.unwrap();
    let page = sign_in(&server, EMAIL, PASSWORD).await;
    assert!(page.status == 500 && page.cookies.is_empty(), "{}", page.text);
    assert_eq!(out().await.status, 500);
    conn.execute("ALTER TABLE aside RENAME TO audit").await.unwrap();
    conn.close().await.unwrap();
    assert_eq!(home().await.status, 200, "the session goes on");
    assert_eq!(out().await.status, 303);
    let events = server.events("").await;
    let of = |action: &str| events.iter().filter(|e| e["actionType"] == action).count();
    assert_eq!((of("signIn"), of("signOut")), (1, 1));
}
