//! Bodies that come late: what a caller may do is looked up again when the change is made.

use programmatic_users::server::recover_admin;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::console::{between, open, sign_in};
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server};

/// A request whose handler waits for its body.
struct Held {
    stream: TcpStream,
    body: String,
}

impl Held {
    /// Sends all but the body, and waits until that is asked for: then the gate is behind it.
    async fn send(server: &Server, line: &str, header: &str, body: String) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Length: {length}\r\nConnection: close\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked.as_slice(), b"HTTP/1.1 100 Continue\r\n\r\n", "{line}");
        Self { stream, body }
    }

    /// Sends the body; the reply, with its head.
    async fn go_on(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut reply = String::new();
        self.stream.read_to_string(&mut reply).await.unwrap();
        reply
    }
}

/// Every change that has a body.
fn changes(user: &str, group: &str, policy: &str) -> Vec<(String, Value)> {
    let change = |line: &str, body| {
        let line = line.replace("{user}", user).replace("{group}", group);
        (line.replace("{policy}", policy), body)
    };
    let everything = json!({"effect": "ALLOW", "actions": ["*"], "resources": ["*"]});
    let content = json!({"statements": [everything]});
    let in_account = json!({"userEmail": EMAIL, "role": "viewer"});
    let account = format!("/setup/account/{A}");
    let mapping = json!({"userEmail": EMAIL, "accountId": A, "role": "viewer"});
    let person =
        json!({"firstName": "Late", "lastName": "Comer", "email": "late@example.com", "password": PASSWORD});
    vec![
        change(
            "POST /setup/user/programmatic",
            json!({"name": "late", "accounts": [{"id": A, "role": "viewer"}]}),
        ),
        change("POST /setup/user", person),
        change("PUT /setup/user/{user}/policyMapping", json!({"policies": []})),
        change(
            "PUT /setup/user/{user}/userGroupMapping",
            json!({"userGroupIds": []}),
        ),
        change("POST /setup/account", json!({"account": {"name": "late"}})),
        change(&format!("PUT {account}"), json!({"account": {"name": "late"}})),
        change(&format!("POST {account}/user"), in_account.clone()),
        change(&format!("PUT {account}/user"), in_account.clone()),
        change(&format!("DELETE {account}/user"), in_account),
        change("POST /setup/accountUserMapping", json!({"mappings": [mapping]})),
        change(
            "POST /setup/access/policy",
            json!({"policy": {"name": "late", "policyContent": content}}),
        ),
        change(
            "PUT /setup/access/policy/{policy}",
            json!({"policy": {"policyContent": content}}),
        ),
        change(
            &format!("POST /aws/ec2/group?accountId={A}"),
            json!({"group": {"name": "late"}}),
        ),
        change("POST /setup/access/userGroup", json!({"name": "late"})),
        change("PUT /setup/access/userGroup/{group}", json!({"name": "late"})),
        change(
            "PUT /setup/access/userGroup/{group}/userMapping",
            json!({"userIds": []}),
        ),
        change(
            "PUT /setup/access/userGroup/{group}/policyMapping",
            json!({"policies": []}),
        ),
    ]
}

#[tokio::test]
async fn an_open_request_is_refused_when_its_right_is_revoked() {
    let server = Server::start().await;
    let (user, _) = server.user("viewer", A).await;
    let group = server
        .post(ADMIN, "/setup/access/userGroup", json!({"name": "g"}))
        .await
        .expect(200);
    let group = group.item()["id"].as_str().unwrap();
    let nothing = json!([{"effect": "DENY", "actions": ["*"], "resources": ["*"]}]);
    let policy = server.policy("ACCOUNT", nothing).await;
    for (revoke, status, code) in [(true, 401, "UNAUTHORIZED"), (false, 403, "FORBIDDEN")] {
        let admin = json!({"name": "stolen", "policies": [{"policyId": "1", "accountIds": ["*"]}]});
        let (id, token) = server.user_with(admin).await;
        let bearer = format!("Authorization: Bearer {token}\r\nContent-Type: application/json");
        let mut held = Vec::new();
        for (line, body) in changes(&user, group, &policy) {
            let request = Held::send(&server, &line, &bearer, body.to_string()).await;
            held.push((line, request));
        }
        let path = format!("/setup/user/{id}");
        if revoke {
            server.delete(ADMIN, &path).await.expect(200);
        } else {
            let less = json!({"policies": [{"policyId": "3", "accountIds": [A]}]});
            server
                .put(ADMIN, &format!("{path}/policyMapping"), less)
                .await
                .expect(200);
        }
        let asked = held.len();
        for (line, request) in held {
            let reply = request.go_on().await;
            let (top, body) = reply.split_once("\r\n\r\n").unwrap();
            assert!(top.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {reply}");
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["response"]["errors"][0]["code"], code, "{line}");
        }
        let mut events = server.events("").await;
        events.retain(|e| e["actorId"] == id.as_str());
        let refused = |e: &Value| e["result"] == "refused" && e["responseStatus"] == status;
        assert!(events.len() == asked && events.iter().all(refused), "{events:#?}");
    }
}

/// Its user stays, with all its rights.
#[tokio::test]
async fn an_open_request_is_refused_when_its_token_is_replaced() {
    let server = Server::start().await;
    let bearer = format!("Authorization: Bearer {ADMIN}\r\nContent-Type: application/json");
    let mut held = Vec::new();
    for n in 0..3 {
        let body = json!({"name": format!("late-{n}"), "policies": [{"policyId": "1"}]});
        held.push(
            Held::send(
                &server,
                "POST /setup/user/programmatic",
                &bearer,
                body.to_string(),
            )
            .await,
        );
    }
    let database = crate::database(server.directory.path());
    let made = recover_admin(&database, EMAIL, true).await.unwrap();
    for request in held {
        let reply = request.go_on().await;
        assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
    }
    let token = made.token.unwrap();
    let users = server.get(token.expose(), "/setup/organization/user").await;
    assert_eq!(users.items().len(), 1);
}

/// The console asks the API on behalf of a session, which may have ended since the page was asked for.
#[tokio::test]
async fn a_form_that_comes_after_the_sign_out_does_nothing() {
    let server = Server::start().await;
    let cookie = sign_in(&server, EMAIL, PASSWORD).await.session();
    let path = "/console/settings/organization/programmatic-users/add";
    let form = open(server.http.get(server.url(path)).header("cookie", &cookie)).await;
    let hidden = |name: &str| between(&form.text, &format!("name=\"{name}\" value=\""), "\"").to_owned();
    let csrf = hidden("csrf");
    let body = format!(
        "csrf={csrf}&number={}&name=late&role=viewer&accounts={A}",
        hidden("number")
    );
    let header = format!("Cookie: {cookie}\r\nContent-Type: application/x-www-form-urlencoded");
    let held = Held::send(&server, &format!("POST {path}"), &header, body).await;
    let out = server.http.post(server.url("/console/sign-out"));
    let out = out
        .header("cookie", &cookie)
        .header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(open(out.body(format!("csrf={csrf}"))).await.status, 303);
    let page = held.go_on().await;
    assert!(
        page.starts_with("HTTP/1.1 401 ") && page.contains("The session has ended"),
        "{page}"
    );
    let users = server.get(ADMIN, "/setup/organization/user").await;
    assert_eq!(users.items().len(), 1);
}
