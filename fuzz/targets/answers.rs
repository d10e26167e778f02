//! What a platform answers, to the decoders and to the client.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use programmatic_users::platform::client::{
    Client, Config, Error, LimiterEvents, Limits, Purpose, RateLimiter,
};
use programmatic_users::platform::{
    Account, AuditEvent, CreateProgrammaticUser, CreatedUser, Envelope, Policy, Token, UserDetails,
    UserGroup, UserName, UserSummary, format_time, parse_time,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::{first_line, text};

const TOKEN: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4";

/// A time that is read is written with milliseconds, and is then read as the same.
pub fn time(data: &[u8]) {
    let text = text(data);
    let Some(at) = parse_time(&text) else {
        return;
    };
    let written = format_time(at);
    let again = parse_time(&written).expect("what is written is read");
    // What is written has milliseconds, cut down towards the past.
    let cut = at.duration_since(again).as_nanos();
    assert!((0..1_000_000).contains(&cut), "{text:?} became {written}");
    assert_eq!(format_time(again), written);
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Vec<T> {
    let envelope = serde_json::from_slice::<Envelope<T>>(body).ok();
    envelope.and_then(|e| e.response.items).unwrap_or_default()
}

/// The body of a reply, as the client reads it on each route. The short form of a user says the same as the long one.
pub fn reply(data: &[u8]) {
    let users: Vec<UserSummary> = read(data);
    let names: Vec<UserName> = read(data);
    for (user, name) in users.iter().zip(&names) {
        assert_eq!(
            (&*user.user_id, &*user.username),
            (&*name.user_id, &*name.username)
        );
        assert_eq!(user.user_type, name.user_type);
    }
    for user in read::<UserDetails>(data) {
        let written = serde_json::to_value(&user).expect("it has a JSON form");
        assert_eq!(serde_json::from_value::<UserDetails>(written).ok(), Some(user));
    }
    let _ = (
        read::<Account>(data),
        read::<Policy>(data),
        read::<UserGroup>(data),
    );
    let _ = (read::<AuditEvent>(data), read::<Value>(data));
    for created in read::<CreatedUser>(data) {
        assert!(!created.token.expose().is_empty());
        assert!(created.token.expose().bytes().all(|b| b.is_ascii_graphic()));
    }
}

/// A platform that answers whatever it is given, byte by byte, and closes.
struct Platform {
    runtime: Runtime,
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    /// The first line of the last request.
    asked: Arc<Mutex<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static PLATFORM: LazyLock<Platform> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("a port has a number");
    let (answer, asked) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<String>>::default());
    let (answers, requests) = (answer.clone(), asked.clone());
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut part = [0; 4096];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut part).await {
                    Ok(n) if n > 0 => head.extend_from_slice(&part[..n]),
                    _ => break,
                }
            }
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            *lock(&requests) = String::from_utf8_lossy(line).into_owned();
            let bytes = lock(&answers).clone();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    });
    Platform {
        runtime,
        address,
        answer,
        asked,
    }
});

/// One call; what came of it does not matter, but whether it failed.
async fn call(client: &Client, which: u8, id: &str) -> Result<(), Error> {
    let body = CreateProgrammaticUser {
        name: "ci/k8s.abcdef.abcdefgh.aaaabbbbccccdddd".to_owned(),
        description: None,
        accounts: vec![],
        policies: vec![],
    };
    match which {
        0 => client.user_names().await.map(drop),
        1 => client.user(id).await.map(drop),
        2 => client
            .create_programmatic_user(&body, client.reserve_create(Purpose::First).await?)
            .await
            .map(drop),
        3 => client.policies().await.map(drop),
        4 => client.groups().await.map(drop),
        5 => client.accounts().await.map(drop),
        6 => client.delete_user(id).await,
        7 => client.probe().await.map(drop),
        8 => client.put_groups(id, vec![]).await,
        _ => match Token::new(TOKEN) {
            Some(token) => client.accepts(&token).await.map(drop),
            None => Ok(()),
        },
    }
}

/// Lines: a digit for the route and the id of a user; then the answer, status line and headers included. The call ends,
/// its error is short and tells no token, and an id is no other route.
pub fn answer(data: &[u8]) {
    let (line, bytes) = first_line(data);
    let (which, id) = (
        line.bytes().next().unwrap_or(b'0') % 16,
        line.get(1..).unwrap_or_default(),
    );
    let platform = &*PLATFORM;
    bytes.clone_into(&mut lock(&platform.answer));
    lock(&platform.asked).clear();
    let token = Token::new(TOKEN).expect("a token");
    let client = Client::new(Config {
        url: format!("http://{}", platform.address),
        ca_bundle: None,
        timeout: Duration::from_secs(2),
        create_timeout: Duration::from_secs(2),
        token,
        previous: None,
        gate: Arc::new(RateLimiter::new(Limits::default(), LimiterEvents::default())),
    });
    let client = client.expect("a client");
    if let Err(error) = platform.runtime.block_on(call(&client, which, id)) {
        let said = error.to_string();
        assert!(said.len() < 4096, "{} bytes", said.len());
        assert!(
            !said.contains(TOKEN) && !said.contains(char::is_control),
            "{said:?}"
        );
    }
    let asked = lock(&platform.asked);
    if let Some(rest) = asked.split_once(" /setup/user/").map(|(_, rest)| rest) {
        let path = rest.split(' ').next().unwrap_or_default();
        let id = path.split('/').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(id.chars().all(plain) && path.matches('/').count() <= 1, "{asked}");
    }
}
