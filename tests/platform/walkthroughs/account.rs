//! The Account tab: the programmatic users of one account.

use serde_json::json;

use super::{is_gone_after_a_reload, shown_token, shows};
use crate::browser::Browser;
use crate::support::{A, B, Server};

/// "Under the Account tab, click Programmatic Users. Click Add Programmatic User. Fill in the form with the Name,
/// Description, and Account Role. If you choose a Policy Based account role, choose the applicable policies."
#[tokio::test]
async fn a_programmatic_user_is_added_to_an_account() {
    let server = Server::start().await;
    let browser = Browser::of_admin(&server).await;
    browser.settings().await;
    browser.click("Account").await;
    browser
        .click(&format!("production ({A}): Programmatic Users"))
        .await;
    browser.click("Add Programmatic User").await;
    browser.fill("#name", "scaler").await;
    browser.fill("#description", "scales the web").await;
    let policies = browser.find("#policies").await;
    assert!(!policies.is_displayed().await.unwrap());
    browser.choose("#role", "Policy Based").await;
    assert!(
        policies.is_displayed().await.unwrap(),
        "Policy Based reveals the choice"
    );
    for (id, is_offered) in [("1", true), ("3", true), ("8", false)] {
        let there = browser.has(&format!("#policies input[value='{id}']")).await;
        assert_eq!(there, is_offered, "{id}");
    }
    assert!(
        !browser.has("#accounts").await,
        "the account is the one of the tab"
    );

    // Without a policy no user is created, and what was typed is still there.
    browser.submit("form.add button").await;
    assert!(
        browser
            .text()
            .await
            .contains("Policies must contain at least 1 items")
    );
    for (field, typed) in [("#name", "scaler"), ("#description", "scales the web")] {
        assert_eq!(browser.value(field).await.as_deref(), Some(typed));
    }
    browser.press("#policies input[value='4']").await;
    browser.picture("add-to-account").await;
    browser.submit("form.add button").await;
    let token = shown_token(&browser).await;
    let group = json!({"group": {"name": "web"}});
    server
        .post(&token, &format!("/aws/ec2/group?accountId={A}"), group.clone())
        .await
        .expect(200);
    server
        .post(&token, &format!("/aws/ec2/group?accountId={B}"), group)
        .await
        .expect(403);

    // The token is gone after a reload.
    is_gone_after_a_reload(&browser, &token).await;
    browser.click("To the programmatic users").await;
    assert!(browser.text().await.contains("scaler"));
    browser.click(&format!("staging ({B}): Programmatic Users")).await;
    assert!(
        !browser.text().await.contains("scaler"),
        "it belongs to the other account"
    );
    browser
        .click(&format!("production ({A}): Programmatic Users"))
        .await;
    browser.click("scaler").await;
    let details = [
        "API only",
        "scales the web",
        "Elastigroup Full Access",
        A,
        &token[60..],
    ];
    shows(&browser, &details).await;
    browser.stop().await;
}

/// The other account roles ask for no policies, and hold in the account of the tab.
#[tokio::test]
async fn viewers_and_editors_are_added_to_an_account() {
    let server = Server::start().await;
    let browser = Browser::of_admin(&server).await;
    for (role, may_create) in [("Viewer", 403), ("Editor", 200)] {
        let name = format!("an-{role}");
        browser.settings().await;
        browser.click("Account").await;
        browser.click("Add Programmatic User").await;
        browser.fill("#name", &name).await;
        browser.fill("#description", "of the account").await;
        browser.choose("#role", role).await;
        assert!(!browser.find("#policies").await.is_displayed().await.unwrap());
        browser.submit("form.add button").await;
        let token = shown_token(&browser).await;
        let groups = |account: &str| format!("/aws/ec2/group?accountId={account}");
        let group = json!({"group": {"name": "web"}});
        server.get(&token, &groups(A)).await.expect(200);
        server.post(&token, &groups(A), group).await.expect(may_create);
        server.get(&token, &groups(B)).await.expect(403);
        browser.click("Done").await;
        browser.click(&name).await;
        shows(&browser, &[&format!("Account {role}"), "of the account"]).await;
    }
    browser.stop().await;
}
