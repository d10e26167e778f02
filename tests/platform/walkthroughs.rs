//! The walkthroughs of the help page, in a real browser; and what a person must not be able to do there.

#[path = "walkthroughs/account.rs"]
mod account;
#[path = "walkthroughs/outside.rs"]
mod outside;

use fantoccini::key::Key;
use serde_json::json;

use crate::browser::{Browser, LOOKS, WIDE};
use crate::support::{A, ADMIN, B, Server};

const ADD: &str = "/console/settings/organization/programmatic-users/add";

/// The token that the page shows, and whether the copy button copies it.
async fn shown_token(browser: &Browser) -> String {
    let token = browser.value("#token").await.unwrap();
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(browser.text().await.contains("cannot be shown again"));
    browser.press("button[data-copy]").await;
    let said = browser
        .page
        .wait()
        .for_element(fantoccini::Locator::XPath("//*[@id='copied'][text()='Copied']"));
    said.await.unwrap();
    let selected = browser.page.execute(
        "const f = document.getElementById('token'); return f.value.slice(f.selectionStart, f.selectionEnd);",
        vec![],
    );
    assert_eq!(selected.await.unwrap(), json!(token));
    token
}

/// A token is shown once: the page that is loaded again does not have it.
async fn is_gone_after_a_reload(browser: &Browser, token: &str) {
    browser.reload().await;
    assert!(!browser.source().await.contains(token));
    assert!(browser.text().await.contains("This form was sent before"));
}

async fn shows(browser: &Browser, all: &[&str]) {
    let page = browser.text().await;
    for words in all {
        assert!(page.contains(words), "{words}: {page}");
    }
}

async fn names(server: &Server) -> Vec<String> {
    let users = server.get(ADMIN, "/setup/organization/user").await.expect(200);
    users
        .items()
        .iter()
        .map(|u| u["username"].as_str().unwrap().to_owned())
        .collect()
}

/// "In the console, click the User icon and click Settings. Under the Organization tab, click Programmatic Users. Click
/// Add Programmatic User. Fill in the form with the Name, Description, Account Role, and Accounts. You can add one or
/// multiple accounts. When the token is generated, copy it and save it in a secure place."
#[tokio::test]
async fn a_programmatic_user_is_added_to_the_organization() {
    let server = Server::start().await;
    let browser = Browser::of_admin(&server).await;
    browser.settings().await;
    browser.click("Organization").await;
    browser.click("Programmatic Users").await;
    browser.click("Add Programmatic User").await;
    browser.fill("#name", "ci-deployer").await;
    browser.fill("#description", "deploys everything").await;
    browser.choose("#role", "Editor").await;
    for account in [A, B] {
        browser
            .press(&format!("input[name=accounts][value='{account}']"))
            .await;
    }
    assert!(!browser.find("#policies").await.is_displayed().await.unwrap());
    browser.picture("add-to-organization").await;
    browser.submit("form.add button").await;
    let token = shown_token(&browser).await;
    for account in [A, B] {
        let group = json!({"group": {"name": "web"}});
        server
            .post(&token, &format!("/aws/ec2/group?accountId={account}"), group)
            .await
            .expect(200);
    }

    // The token is gone after a reload, and the reload created no user.
    is_gone_after_a_reload(&browser, &token).await;
    assert_eq!(
        names(&server)
            .await
            .iter()
            .filter(|n| *n == "ci-deployer")
            .count(),
        1
    );
    browser.click("To the programmatic users").await;
    browser.click("ci-deployer").await;
    let details = [
        "API only",
        "deploys everything",
        "Account Editor",
        A,
        B,
        &token[60..],
    ];
    shows(&browser, &details).await;
    assert!(!browser.source().await.contains(&token));
    browser.picture("user").await;

    // Deleted after a question.
    browser.click("Delete user").await;
    assert!(browser.text().await.contains("Its tokens are dead at once"));
    browser.click("Cancel").await;
    browser.click("Delete user").await;
    browser.submit("main form button").await;
    assert_eq!(
        browser.path().await,
        "/console/settings/organization/programmatic-users"
    );
    server.get(&token, "/setup/account").await.expect(401);

    // Who did it, and as what.
    browser.click("Audit").await;
    let all = browser.text().await;
    assert!(
        all.contains("createProgrammaticUser") && all.contains("createGroup"),
        "{all}"
    );
    browser.choose("#actorType", "Programmatic").await;
    browser.submit("form.filter button").await;
    let programmatic = browser.text().await;
    assert!(programmatic.contains("createGroup") && programmatic.contains("ci-deployer"));
    assert!(!programmatic.contains("createProgrammaticUser"), "{programmatic}");
    browser.picture("audit").await;
    browser.press("summary[aria-label='User menu']").await;
    browser.submit("header form button").await;
    assert_eq!(browser.path().await, "/console/sign-in");
    browser.open("/console/settings").await;
    assert_eq!(browser.path().await, "/console/sign-in");
    browser.stop().await;
}

#[tokio::test]
async fn a_viewer_is_offered_nothing_and_refused_by_hand() {
    let server = Server::start().await;
    let body = json!({"firstName": "Vera", "lastName": "Viewer", "email": "vera@example.com", "password": "long enough", "role": "user"});
    let made = server.post(ADMIN, "/setup/user", body).await.expect(200);
    let id = made.item()["userId"].as_str().unwrap().to_owned();
    let policies = json!({"policies": [{"policyId": "3", "accountIds": [A]}, {"policyId": "8"}]});
    server
        .put(ADMIN, &format!("/setup/user/{id}/policyMapping"), policies)
        .await
        .expect(200);
    let browser = Browser::start(&server, WIDE).await;
    browser.sign_in("vera@example.com", "long enough").await;
    browser.settings().await;
    assert!(browser.text().await.contains("Programmatic Users"));
    assert!(!browser.text().await.contains("Add Programmatic User"));
    // By hand: the form is there, and the API refuses.
    browser.open(ADD).await;
    browser.fill("#name", "sneaky").await;
    browser.press(&format!("input[name=accounts][value='{A}']")).await;
    browser.submit("form.add button").await;
    let refused = browser.text().await;
    assert!(
        refused.contains("Only an organization administrator may do this"),
        "{refused}"
    );
    browser
        .open(&format!("/console/settings/users/{id}/delete"))
        .await;
    browser.submit("main form button").await;
    assert!(
        browser
            .text()
            .await
            .contains("Only an organization administrator may do this")
    );
    assert!(!names(&server).await.contains(&"sneaky".to_owned()));
    let events = server.events("&actorType=ui").await;
    let refused: Vec<_> = events
        .iter()
        .filter(|e| e["result"] == "refused")
        .map(|e| e["actionType"].as_str().unwrap())
        .collect();
    assert_eq!(refused, ["createProgrammaticUser", "deleteUser"]);
    assert!(events.iter().all(|e| e["source"] == "UI" || e["source"] == "API"));
    browser.stop().await;
}

/// A post that no page of the session made, even with its cookie.
#[tokio::test]
async fn a_form_of_another_site_creates_and_deletes_no_user() {
    let server = Server::start().await;
    let (id, _) = server.user("editor", A).await;
    let browser = Browser::of_admin(&server).await;
    for (path, fields) in [
        (
            ADD.to_owned(),
            "name=forged&role=viewer&accounts=act-aaaaaaaa&number=1",
        ),
        (format!("/console/settings/users/{id}/delete"), "csrf=0000"),
    ] {
        let post = format!(
            "const done = arguments[arguments.length - 1]; fetch('{path}', {{method: 'POST', headers: {{'content-type': 'application/x-www-form-urlencoded'}}, body: '{fields}'}}).then(r => done(r.status), e => done(String(e)));"
        );
        // The page's own policy forbids scripts to send requests.
        let sent = browser.page.execute_async(&post, vec![]).await.unwrap();
        assert_ne!(sent, json!(200), "{path}");
        let cookie = browser.page.get_named_cookie("session").await.unwrap();
        let request = server
            .http
            .post(server.url(&path))
            .header("cookie", format!("session={}", cookie.value()));
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(fields);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 403, "{path}");
    }
    assert!(names(&server).await.iter().all(|n| n != "forged"));
    server.get(ADMIN, &format!("/setup/user/{id}")).await.expect(200);
    browser.stop().await;
}

#[tokio::test]
async fn hostile_names_are_text() {
    let server = Server::start().await;
    let hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;";
    let body = json!({"name": hostile.replace('=', ""), "description": hostile, "accounts": [{"id": A, "role": "viewer"}]});
    let (id, token) = server.user_with(body).await;
    // On record, so that the name is on the page of the audit log too.
    server.post(&token, "/setup/account", json!({})).await.expect(403);
    let browser = Browser::of_admin(&server).await;
    for path in [
        "/console/settings/organization/programmatic-users",
        &format!("/console/settings/users/{id}"),
        "/console/settings/organization/audit",
    ] {
        browser.open(path).await;
        assert!(
            browser.page.get_alert_text().await.is_err(),
            "{path} runs a script"
        );
        assert!(!browser.has("main img, main script").await, "{path}");
        let shown = browser.text().await;
        assert!(shown.contains("<script>alert(1)</script>"), "{path}: {shown}");
    }
    browser.open(&format!("/console/settings/users/{id}")).await;
    assert!(browser.text().await.contains(hostile));
    // In the form, too.
    browser.open(ADD).await;
    browser.fill("#name", hostile).await;
    browser.submit("form.add button").await;
    assert_eq!(browser.value("#name").await.as_deref(), Some(hostile));
    assert!(!browser.has("main img").await);
    browser.stop().await;
}

#[tokio::test]
async fn everything_can_be_done_with_the_keyboard() {
    let server = Server::start().await;
    let browser = Browser::start(&server, WIDE).await;
    browser.open("/console/sign-in").await;
    // The first field has the focus.
    for (text, next) in [
        (crate::support::EMAIL, "password"),
        (crate::support::PASSWORD, "Sign in"),
    ] {
        let field = browser.page.active_element().await.unwrap();
        field.send_keys(text).await.unwrap();
        browser.tab_to(next).await;
    }
    browser.enter().await;
    browser.tab_to("User menu").await;
    browser.key(Key::Enter).await;
    browser.tab_to("Settings").await;
    browser.enter().await;
    browser.tab_to("Add Programmatic User").await;
    browser.enter().await;
    browser.tab_to("name").await;
    browser
        .page
        .active_element()
        .await
        .unwrap()
        .send_keys("by-keyboard")
        .await
        .unwrap();
    browser.tab_to("accounts-0").await;
    browser
        .page
        .active_element()
        .await
        .unwrap()
        .send_keys(" ")
        .await
        .unwrap();
    browser.tab_to("Add Programmatic User").await;
    browser.enter().await;
    browser.tab_to("token").await;
    browser.tab_to("Copy").await;
    browser.key(Key::Enter).await;
    assert!(names(&server).await.contains(&"by-keyboard".to_owned()));
    browser.stop().await;
}

#[tokio::test]
async fn every_page_is_accessible_light_and_dark_wide_and_narrow() {
    let server = Server::start().await;
    let (id, _) = server.user("editor", A).await;
    let group = json!({"name": "deployers", "userIds": [id], "policies": []});
    server
        .post(ADMIN, "/setup/access/userGroup", group)
        .await
        .expect(200);
    let account = format!("/console/settings/account/{A}/programmatic-users");
    let pages = [
        "/console".to_owned(),
        "/console/nowhere".to_owned(),
        "/console/own/password".to_owned(),
        "/console/own/sessions".to_owned(),
        "/console/settings/organization/programmatic-users".to_owned(),
        "/console/settings/organization/users".to_owned(),
        "/console/settings/organization/groups".to_owned(),
        "/console/settings/organization/policies".to_owned(),
        "/console/settings/organization/accounts".to_owned(),
        "/console/settings/organization/audit".to_owned(),
        ADD.to_owned(),
        format!("/console/settings/users/{id}"),
        format!("/console/settings/users/{id}/delete"),
        account.clone(),
        format!("{account}/add"),
    ];
    for look in LOOKS {
        let browser = Browser::start(&server, look).await;
        browser.open("/console/sign-in").await;
        assert_eq!(
            browser.inaccessible().await,
            Vec::<String>::new(),
            "sign-in, {}",
            look.name
        );
        browser.sign_in_as_admin().await;
        for path in &pages {
            browser.open(path).await;
            let dark = browser
                .page
                .execute(
                    "return matchMedia('(prefers-color-scheme: dark)').matches",
                    vec![],
                )
                .await;
            assert_eq!(dark.unwrap(), json!(look.dark));
            assert_eq!(
                browser.inaccessible().await,
                Vec::<String>::new(),
                "{path}, {}",
                look.name
            );
            let wider = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
            assert_eq!(
                browser.page.execute(wider, vec![]).await.unwrap(),
                json!(false),
                "{path} is too wide, {}",
                look.name
            );
        }
        browser.open(ADD).await;
        browser.choose("#role", "Policy Based").await;
        browser.fill("#name", &format!("looked-at-{}", look.name)).await;
        browser.picture(&format!("add-{}", look.name)).await;
        browser.submit("form.add button").await;
        assert_eq!(
            browser.inaccessible().await,
            Vec::<String>::new(),
            "refused form, {}",
            look.name
        );
        browser.choose("#role", "Viewer").await;
        browser.press("input[name=accounts]").await;
        browser.submit("form.add button").await;
        assert!(browser.has("#token").await, "{}", browser.text().await);
        assert_eq!(
            browser.inaccessible().await,
            Vec::<String>::new(),
            "token, {}",
            look.name
        );
        browser.stop().await;
    }
}
