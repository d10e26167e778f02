//! A client that guesses learns nothing: neither from the reply nor from the time that it takes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::console::{Page, open, sign_in};
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server};

/// The middle of several times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Both kinds of guesses in turn, so that noise meets both; the ratio of their medians.
async fn ratio(rounds: usize, mut first: impl AsyncFnMut(), mut second: impl AsyncFnMut()) -> f64 {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        first().await;
        one.push(start.elapsed());
        let start = Instant::now();
        second().await;
        two.push(start.elapsed());
    }
    median(one).as_secs_f64() / median(two).as_secs_f64()
}

#[tokio::test]
async fn an_unknown_token_and_a_revoked_one() {
    let server = Server::start().await;
    let (id, revoked) = server.user("editor", A).await;
    server
        .delete(ADMIN, &format!("/setup/user/{id}"))
        .await
        .expect(200);
    let unknown = "f".repeat(64);
    let said = async |token: &str| -> Value {
        let mut body = server.get(token, "/setup/account").await.expect(401).body;
        body["request"].take();
        body
    };
    assert_eq!(said(&unknown).await, said(&revoked).await);
    let ratio = ratio(
        150,
        async || drop(said(&unknown).await),
        async || drop(said(&revoked).await),
    )
    .await;
    println!("unknown token / revoked token: {ratio:.2}");
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
}

/// A page of the sign-in form without what is new on each.
fn words(page: &Page) -> (u16, String) {
    let (before, rest) = page.text.split_once("name=\"csrf\" value=\"").unwrap();
    (page.status, format!("{before}{}", &rest[64..]))
}

/// The console does not tell either: neither by its form nor by its door, of neither kind of user.
#[tokio::test]
async fn an_unknown_token_and_a_revoked_one_at_the_console() {
    let server = Server::start().await;
    let (id, programmatic) = server.user("editor", A).await;
    let body =
        json!({"firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "password": PASSWORD});
    let made = server
        .post(ADMIN, "/setup/user?generateToken=true", body)
        .await
        .expect(200);
    let text = |key: &str| made.item()[key].as_str().unwrap().to_owned();
    let (person, personal) = (text("userId"), text("personalAccessToken"));
    for gone in [&id, &person] {
        server
            .delete(ADMIN, &format!("/setup/user/{gone}"))
            .await
            .expect(200);
    }
    let unknown = "f".repeat(64);
    let by_form = async |token: &str| words(&sign_in(&server, "ci@example.com", token).await);
    let knock = async |token: &str| {
        let page = open(server.http.get(server.url("/console")).bearer_auth(token)).await;
        (page.status, page.text)
    };
    for revoked in [&programmatic, &personal] {
        assert_eq!(by_form(&unknown).await, by_form(revoked).await);
        assert_eq!(knock(&unknown).await, knock(revoked).await);
    }
    // The audit log does: a client that guesses cannot read it.
    let events = server.events("").await;
    let knocked = events.iter().filter(|e| e["actionType"] == "openConsole");
    let actors: Vec<_> = knocked.filter_map(|e| e["actorId"].as_str()).collect();
    assert_eq!(actors, [id, person]);
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password() {
    let said = |page: Page| words(&page);
    // Another server each time: addresses are locked after some failures.
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let server = Server::start().await;
        let known = said(sign_in(&server, EMAIL, "wrong").await);
        let unknown = said(sign_in(&server, "unknown@example.com", "wrong").await);
        assert_eq!(known, unknown);
        assert_eq!(known.0, 401);
        let guess = async |email: &str| drop(sign_in(&server, email, "wrong").await);
        ratios.push(
            ratio(
                3,
                async || guess(EMAIL).await,
                async || guess("unknown@example.com").await,
            )
            .await,
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("wrong password / unknown address: {ratios:.2?}");
    assert!((0.5..2.0).contains(&ratios[1]), "{ratios:?}");
}

/// A letter that some databases take for another one makes no other spelling of an address: with its own count of failures
/// it would be one more series of guesses.
#[tokio::test]
async fn an_address_with_a_lookalike_letter_is_unknown() {
    let server = Server::start().await;
    let person = json!({"firstName": "Kim", "lastName": "Lee", "email": "kim@example.com", "password": PASSWORD, "role": "user"});
    server.post(ADMIN, "/setup/user", person).await.expect(200);
    let kelvin = "\u{212a}im@example.com";
    assert_eq!(kelvin.to_lowercase(), "kim@example.com");
    let unknown = words(&sign_in(&server, "unknown@example.com", "wrong").await);
    for _ in 0..5 {
        assert_eq!(words(&sign_in(&server, kelvin, PASSWORD).await), unknown);
    }
    assert_eq!(sign_in(&server, kelvin, PASSWORD).await.status, 429);
    assert_eq!(sign_in(&server, "KIM@example.com", PASSWORD).await.status, 303);
}
