//! Several controllers of one installation: one works, the others stand by.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::wait::SOON;
use crate::support::world::WorldBuilder;
use crate::support::{Operator, PAYMENTS, World, operator};

/// One Lease for all, as in an installation, and one that expires soon.
const QUICK: [&str; 6] = [
    "--lease-name",
    "programmatic-users",
    "--lease-duration",
    "5s",
    "--create-timeout",
    "2s",
];
/// One that does not expire within any test.
const LONG: [&str; 4] = ["--lease-name", "programmatic-users", "--lease-duration", "1h"];

fn world(name: &str, flags: &[&str]) -> WorldBuilder {
    World::builder(name).controller_flags(flags)
}

async fn leads(world: &World, controller: &Operator) {
    world
        .eventually("it to lead", SOON, async || match controller.leads().await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
}

async fn made(world: &World, name: &str) {
    world.user(name).viewer(PAYMENTS).apply().await;
    world.ready(name).await;
}

/// Waits until it has ended by itself, as one that lost the lease.
async fn gives_up(world: &World, controller: &Operator) {
    let status = world
        .eventually("it to end", SOON, async || {
            controller.ended().await.ok_or_else(|| "it runs".to_owned())
        })
        .await;
    assert!(!status.success(), "{status}");
    let log = controller.log();
    assert!(
        log.contains("error: the lease was lost (") && log.contains("start it again"),
        "{}",
        controller.log_tail(20)
    );
}

#[tokio::test]
async fn a_standby_answers_probes_writes_nothing_and_takes_over_from_a_leader_that_is_killed() {
    let world = world("standby", &QUICK).start().await;
    leads(&world, world.controller()).await;
    let standby = world.replica("standby").await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(standby.probe(path).await.unwrap().0, 200, "{path}");
    }
    made(&world, "first").await;
    assert_eq!(standby.leads().await, Ok(false));
    world.controller().kill().await;
    made(&world, "second").await;
    assert_eq!(standby.leads().await, Ok(true));
    assert_eq!(world.platform().users().await.len(), 2);
    standby.stop().await;
}

#[tokio::test]
async fn a_leader_that_gets_sigterm_hands_over_long_before_its_lease_expires() {
    let world = world("hand-over", &LONG).start().await;
    made(&world, "first").await;
    let standby = world.replica("standby").await;
    world.controller().stop().await;
    made(&world, "second").await;
    leads(&world, &standby).await;
    standby.stop().await;
    // And the next one finds a lease without a holder.
    world.controller().resume().await.unwrap();
    made(&world, "third").await;
    assert_eq!(world.platform().users().await.len(), 3);
}

#[tokio::test]
async fn a_leader_that_was_frozen_ends_when_it_wakes_and_nothing_is_doubled() {
    let world = world("thawed", &QUICK).start().await;
    leads(&world, world.controller()).await;
    let standby = world.replica("standby").await;
    // In the midst of work.
    for i in 0..6 {
        world.user(&format!("u{i}")).viewer(PAYMENTS).apply().await;
    }
    world.ready("u0").await;
    world.controller().freeze().await;
    leads(&world, &standby).await;
    made(&world, "later").await;
    world.controller().thaw().await;
    gives_up(&world, world.controller()).await;
    for i in 0..6 {
        world
            .eventually("all to be Ready", SOON * 3, async || {
                let status = world.get(&format!("u{i}")).await.status.unwrap_or_default();
                let ready = status
                    .conditions
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.status == "True");
                if ready && status.journal.abandoned.is_empty() {
                    Ok(())
                } else {
                    Err(crate::support::observe::conditions(&status.conditions))
                }
            })
            .await;
    }
    assert_eq!(world.platform().users().await.len(), 7);
    standby.stop().await;
}

#[tokio::test]
async fn a_leader_that_cannot_reach_the_api_server_ends() {
    let world = world("cut-off", &[]).controller_stopped().start().await;
    let config = std::fs::read_to_string(&world.controller().options().kubeconfig).unwrap();
    let server = url::Url::parse(&world.cluster().info().server).unwrap();
    let (host, port) = (server.host_str().unwrap(), server.port().unwrap());
    let line = Arc::new(CancellationToken::new());
    let relay = relay(format!("{host}:{port}"), line.clone()).await;
    let config = config.replace(
        server.as_str().trim_end_matches('/'),
        &format!("https://127.0.0.1:{relay}"),
    );
    let path = world.dir().join("kubeconfig");
    std::fs::write(&path, config).unwrap();
    let options = operator::Options {
        kubeconfig: path,
        flags: QUICK.map(str::to_owned).into(),
        ..world.controller().options().clone()
    };
    let controller = Operator::start(world.dir(), "cut-off", options).await.unwrap();
    made(&world, "first").await;
    line.cancel();
    gives_up(&world, &controller).await;
}

/// Passes connections on until the line is cut; its port.
async fn relay(target: String, line: Arc<CancellationToken>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = line.cancelled() => return,
            };
            let Ok((mut near, _)) = accepted else { continue };
            let (target, line) = (target.clone(), line.clone());
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(target).await else {
                    return;
                };
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    () = line.cancelled() => {}
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn flags_that_do_not_fit_each_other_are_refused_at_the_start() {
    let flags = ["--lease-duration", "10s", "--create-timeout", "10s"];
    let world = World::builder("flags")
        .controller_flags(&flags)
        .controller_stopped()
        .start()
        .await;
    let refused = world.controller().resume().await.unwrap_err();
    assert!(
        refused.contains("--lease-duration 10s has to be longer than --create-timeout 10s"),
        "{refused}"
    );
}
