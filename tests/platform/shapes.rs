//! The shape of every published reply: its kind, and the names of what it has. Clients decode by these.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{A, ADMIN, Answer, B, Server};

/// What a reply has.
enum Shape {
    /// No items and no kind: the caller knows what was done.
    Status,
    /// Items of a kind, each with these fields and no others.
    Items(&'static str, &'static [&'static str]),
}
use Shape::{Items, Status};

const USER: &[&str] = &["email", "groupNames", "mfa", "type", "userId", "username"];
const POLICY: &[&str] = &[
    "createdAt",
    "description",
    "id",
    "name",
    "policyContent",
    "type",
    "updatedAt",
];

struct Table {
    server: Server,
    /// Methods and paths, as documented.
    seen: Vec<String>,
}

impl Table {
    /// Asks as an administrator, and compares. Words in braces stand for ids, which follow each other in `ids`.
    async fn row(&mut self, route: &str, ids: &[&str], body: Option<Value>, shape: Shape) -> Answer {
        let (method, path) = route.split_once(' ').unwrap();
        let mut filled = String::new();
        let mut ids = ids.iter();
        for part in path.split_inclusive(['{', '}']) {
            match part.strip_suffix('}') {
                Some(_) => filled.push_str(ids.next().unwrap()),
                None => filled.push_str(part.trim_end_matches('{')),
            }
        }
        let method: Method = method.parse().unwrap();
        let mut request = self.server.http.request(method, self.server.url(&filled));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.server.send(request.bearer_auth(ADMIN)).await.expect(200);
        let response = &answer.body["response"];
        match shape {
            Status => {
                assert!(
                    response.get("kind").is_none() && response.get("items").is_none(),
                    "{route}: {response:#}"
                );
            }
            Items(kind, fields) => {
                assert_eq!(response["kind"], kind, "{route}");
                assert!(!answer.items().is_empty(), "{route}");
                for item in answer.items() {
                    let mut names: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
                    names.sort_unstable();
                    assert_eq!(names, fields, "{route}");
                }
            }
        }
        self.seen.push(route.split('?').next().unwrap().to_owned());
        answer
    }
}

fn id(answer: &Answer, key: &str) -> String {
    answer.item()[key].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_published_reply_has_its_kind_and_its_fields() {
    let mut table = Table {
        server: Server::start().await,
        seen: Vec::new(),
    };
    let t = &mut table;
    let (group, policy) = groups_and_policies(t).await;
    users(t, &group, &policy).await;
    accounts(t).await;
    let event: &[&str] = &[
        "accountId",
        "actionType",
        "actorId",
        "actorType",
        "agent",
        "context",
        "createdAt",
        "namespace",
        "peer",
        "requestId",
        "requests",
        "resourceId",
        "resourceType",
        "responseStatus",
        "result",
        "source",
        "tokenLastDigits",
        "user",
    ];
    let audit = "GET /audit/events?fromDate=0&toDate=99999999999999&responseStatus=all";
    t.row(audit, &[], None, Items("spotinst:audit", event)).await;
    t.row("DELETE /setup/access/userGroup/{id}", &[&group], None, Status)
        .await;
    t.row("DELETE /setup/access/policy/{id}", &[&policy], None, Status)
        .await;
    // The rows of the vendor's description that this platform offers: there is one organization, and it stays.
    t.seen.sort_unstable();
    t.seen.dedup();
    assert_eq!(t.seen.len(), 32, "{:#?}", t.seen);
}

/// Ids of a group and a policy.
async fn groups_and_policies(t: &mut Table) -> (String, String) {
    let statements = json!([{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]);
    let body = json!({"policy": {"name": "deploy", "description": "d", "type": "ACCOUNT",
        "policyContent": {"statements": statements}}});
    let made = t
        .row(
            "POST /setup/access/policy",
            &[],
            Some(body),
            Items("spotinst:setup:access:policy", POLICY),
        )
        .await;
    let policy = id(&made, "id");
    t.row(
        "PUT /setup/access/policy/{id}",
        &[&policy],
        Some(json!({"policy": {"name": "deployers"}})),
        Status,
    )
    .await;
    let all = Items("spotinst:setup:organization:policy", POLICY);
    t.row("GET /setup/organization/policy", &[], None, all).await;
    let of_account = Items("spotinst:setup:access:policy", POLICY);
    t.row(
        "GET /setup/access/policy?accountId={account}",
        &[A],
        None,
        of_account,
    )
    .await;
    let action: &[&str] = &["category", "name", "resourcePattern", "scope", "service"];
    let actions = Items("spotinst:setup:policyAction", action);
    t.row("GET /setup/access/policyAction", &[], None, actions).await;

    let kind = "spotinst:setup:access:userGroup";
    let (member, _) = t.server.user("viewer", A).await;
    let grants = json!([{"policyId": policy, "accountIds": [A]}]);
    let body = json!({"name": "Deployers", "description": "d", "userIds": [member], "policies": grants});
    let made: &[&str] = &["createdAt", "description", "id", "name", "policies", "userIds"];
    let made = t
        .row("POST /setup/access/userGroup", &[], Some(body), Items(kind, made))
        .await;
    let group = id(&made, "id");
    let listed: &[&str] = &[
        "createdAt",
        "description",
        "id",
        "name",
        "policyNames",
        "usersCount",
    ];
    t.row("GET /setup/access/userGroup", &[], None, Items(kind, listed))
        .await;
    let details: &[&str] = &["createdAt", "description", "id", "name", "policies", "users"];
    t.row(
        "GET /setup/access/userGroup/{id}",
        &[&group],
        None,
        Items(kind, details),
    )
    .await;
    for (path, body) in [
        ("", json!({"name": "Others"})),
        ("/userMapping", json!({"userIds": [member]})),
        ("/policyMapping", json!({"policies": grants})),
    ] {
        let route = format!("PUT /setup/access/userGroup/{{id}}{path}");
        t.row(&route, &[&group], Some(body), Status).await;
    }
    (group, policy)
}

async fn users(t: &mut Table, group: &str, policy: &str) {
    let body = json!({"name": "ci-deployer", "description": "d", "accounts": [{"id": A, "role": "viewer"}]});
    let made = Items("spotinst:setup:programmaticUser", &["id", "name", "token"]);
    let made = t
        .row("POST /setup/user/programmatic", &[], Some(body), made)
        .await;
    let programmatic = id(&made, "id");
    let body = json!({"firstName": "Ann", "lastName": "Ox", "email": "ann@example.com", "password": "correct horse",
        "role": "viewer"});
    let personal: &[&str] = &[
        "displayName",
        "email",
        "firstName",
        "id",
        "lastName",
        "organizationId",
        "personalAccessToken",
        "userId",
    ];
    let made = t
        .row(
            "POST /setup/user?generateToken=true",
            &[],
            Some(body),
            Items("spotinst:setup:user", personal),
        )
        .await;
    let personal = id(&made, "userId");
    let listed = Items("spotinst:setup:organization:user", USER);
    t.row("GET /setup/organization/user", &[], None, listed).await;
    let of_account: &[&str] = &[
        "displayName",
        "email",
        "groupNames",
        "mappedAccountIds",
        "mfa",
        "type",
        "userId",
        "username",
    ];
    let found = t
        .row(
            "GET /setup/user?accountId={account}",
            &[A],
            None,
            Items("spotinst:setup:user", of_account),
        )
        .await;
    let ann = found.items().iter().find(|u| u["userId"] == personal).unwrap();
    assert_eq!(
        (&ann["displayName"], &ann["mappedAccountIds"]),
        (&json!("Ann Ox"), &json!([A]))
    );
    let details: &[&str] = &[
        "description",
        "email",
        "groups",
        "mfa",
        "policies",
        "tokens",
        "type",
        "userId",
        "username",
    ];
    // A person has no description.
    for (user, fields) in [(&programmatic, details), (&personal, &details[1..])] {
        let details = Items("spotinst:setup:access:user", fields);
        t.row("GET /setup/user/{id}", &[user], None, details).await;
    }
    let grants = json!({"policies": [{"policyId": policy, "accountIds": [A]}]});
    t.row(
        "PUT /setup/user/{id}/policyMapping",
        &[&programmatic],
        Some(grants),
        Status,
    )
    .await;
    let groups = json!({"userGroupIds": [group]});
    t.row(
        "PUT /setup/user/{id}/userGroupMapping",
        &[&programmatic],
        Some(groups),
        Status,
    )
    .await;
    mappings(t, &personal).await;
    t.row("DELETE /setup/user/{id}", &[&programmatic], None, Status)
        .await;
}

/// The older routes, of a console user's accounts.
async fn mappings(t: &mut Table, personal: &str) {
    let role = |role: &str| Some(json!({"userId": personal, "role": role}));
    t.row("POST /setup/account/{id}/user", &[B], role("viewer"), Status)
        .await;
    t.row("PUT /setup/account/{id}/user", &[B], role("editor"), Status)
        .await;
    let mapping: &[&str] = &["accountId", "permissionStrategy", "role", "userEmail", "userId"];
    t.row(
        "GET /setup/accountUserMapping?userEmail={address}",
        &["ann@example.com"],
        None,
        Items("spotinst:setup:accountUserMapping", mapping),
    )
    .await;
    let mappings = json!({"mappings": [{"userId": personal, "accountId": A, "role": "editor"}]});
    t.row("POST /setup/accountUserMapping", &[], Some(mappings), Status)
        .await;
    t.row(
        "DELETE /setup/account/{id}/user",
        &[B],
        Some(json!({"userId": personal})),
        Status,
    )
    .await;
}

async fn accounts(t: &mut Table) {
    let kind = "spotinst:setup:account";
    let made: &[&str] = &["id", "name", "organizationId"];
    let body = json!({"account": {"name": "research"}});
    let made = t
        .row("POST /setup/account", &[], Some(body), Items(kind, made))
        .await;
    let account = id(&made, "id");
    let shown: &[&str] = &[
        "accountId",
        "cloudProvider",
        "name",
        "organizationId",
        "providerExternalId",
    ];
    t.row("GET /setup/account", &[], None, Items(kind, shown)).await;
    t.row("GET /setup/account/{id}", &[&account], None, Items(kind, shown))
        .await;
    let body = json!({"account": {"name": "science"}});
    t.row("PUT /setup/account/{id}", &[&account], Some(body), Status)
        .await;
    t.row("DELETE /setup/account/{id}", &[&account], None, Status)
        .await;
}
