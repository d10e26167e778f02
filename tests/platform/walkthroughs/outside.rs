//! Programmatic users stay outside, in a real browser too.

use crate::browser::{Browser, WIDE};
use crate::support::{A, EMAIL, Server};

#[tokio::test]
async fn a_programmatic_user_is_refused_with_a_reason() {
    let server = Server::start().await;
    let (id, token) = server.user("editor", A).await;
    let browser = Browser::start(&server, WIDE).await;
    let tries = [(EMAIL, token.as_str()), (token.as_str(), "a password")];
    for (email, password) in tries {
        browser.open("/console/sign-in").await;
        // The browser by itself sends nothing that is no address.
        let lenient = "document.querySelector('form').noValidate = true";
        browser.page.execute(lenient, vec![]).await.unwrap();
        browser.fill("#email", email).await;
        browser.fill("#password", password).await;
        browser.submit("button[type=submit]").await;
        let shown = browser.text().await;
        assert!(
            shown.contains(
                "Programmatic users have no access to the console. Their tokens are for the API only."
            ),
            "{shown}"
        );
        assert!(!browser.source().await.contains(&token));
        let cookies = browser.page.get_all_cookies().await.unwrap();
        assert!(cookies.iter().all(|c| c.name() != "session"), "{cookies:?}");
        browser.open("/console/settings").await;
        assert_eq!(browser.path().await, "/console/sign-in");
    }
    let events = server.events("&actorType=programmatic").await;
    let refused = |e: &&serde_json::Value| e["actionType"] == "openConsole" && e["actorId"] == id.as_str();
    assert_eq!(events.iter().filter(refused).count(), tries.len());
    browser.stop().await;
}
