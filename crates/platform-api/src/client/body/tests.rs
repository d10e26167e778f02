use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{LARGE, REFUSAL, TURN, read, read_holding};
use crate::client::error::Error;
use crate::client::wire::Route;

/// The answer to one request, with a body of so many bytes.
async fn answer(status: u16, size: usize) -> reqwest::Response {
    answer_in_part(status, size, size).await
}

/// The same, of which only `sent` bytes ever come.
async fn answer_in_part(status: u16, size: usize, sent: usize) -> reqwest::Response {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The client closes the connection when it has read enough.
        let _ = stream.write_all(&vec![b' '; sent]).await;
        if sent < size {
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap()
}

async fn got(path: &str, status: u16, size: usize) -> Result<usize, Error> {
    let route = Route::new(Method::GET, path);
    let body = read(&route, answer(status, size).await, Duration::from_secs(20)).await?;
    Ok(body.len())
}

#[tokio::test]
async fn each_route_has_its_cap() {
    for (path, mib) in [
        ("/setup/organization/user", 64),
        ("/setup/organization/policy", 4),
        ("/setup/account", 4),
        ("/setup/access/userGroup", 4),
        ("/setup/user/programmatic", 1),
    ] {
        let cap = mib * 1024 * 1024;
        assert_eq!(got(path, 200, cap).await.unwrap(), cap, "{path}");
        let error = got(path, 200, cap + 1).await.unwrap_err();
        let words = format!("more than {} KiB", mib * 1024);
        assert!(error.to_string().contains(&words), "{error}");
    }
    let long = got("/setup/account", 401, 8 * 1024 * 1024).await.unwrap();
    assert!(long <= REFUSAL, "{long}");
}

#[tokio::test]
async fn a_large_reply_waits_for_another_one_and_a_small_one_does_not() {
    let turn = TURN.acquire().await.unwrap();
    assert_eq!(got("/setup/account", 200, LARGE / 2).await.unwrap(), LARGE / 2);
    let mut large = tokio::spawn(got("/setup/account", 200, LARGE * 2));
    // It cannot end while the turn is another one's.
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut large)
            .await
            .is_err()
    );
    drop(turn);
    assert_eq!(large.await.unwrap().unwrap(), LARGE * 2);
}

#[tokio::test]
async fn a_large_reply_that_stalls_gives_its_turn_back() {
    let route = Route::new(Method::GET, "/setup/organization/user");
    let response = answer_in_part(200, LARGE * 3, LARGE * 2).await;
    let an_hour = Duration::from_hours(1);
    let stalled = read_holding(&route, response, an_hour, Duration::from_millis(200));
    let ended = tokio::time::timeout(Duration::from_mins(1), stalled).await;
    let error = ended.unwrap().err().unwrap();
    assert!(error.to_string().contains("no answer in time"), "{error}");
    assert_eq!(got("/setup/account", 200, LARGE * 2).await.unwrap(), LARGE * 2);
}
