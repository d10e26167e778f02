//! `/livez` and `/readyz` tell the truth: a hang is one, and an API server that is away is none.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::support::wait::SOON;
use crate::support::{Cluster, Operator, PAYMENTS, World};

/// Longer than the watchdog's patience.
const HUNG: Duration = Duration::from_mins(2);

/// Stops one thread of a process, as a lock that is never released would, until it is dropped.
struct Stopped {
    helper: Child,
    /// The helper goes on until this is closed.
    pipe: Option<ChildStdin>,
}

/// No tool stops a single thread; the system call does.
const STOP_THREAD: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
thread = int(sys.argv[1])
for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT
    if libc.ptrace(request, thread, 0, 0) != 0:
        sys.exit("ptrace: " + os.strerror(ctypes.get_errno()))
os.waitpid(thread, 0x40000000)  # __WALL
print("stopped", flush=True)
sys.stdin.read()
libc.ptrace(17, thread, 0, 0)  # PTRACE_DETACH
"#;

impl Stopped {
    fn thread(id: u32) -> Self {
        let mut command = Command::new("python3");
        let command = command.args(["-c", STOP_THREAD, &id.to_string()]);
        let mut helper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let pipe = helper.stdin.take();
        let mut line = String::new();
        let mut out = BufReader::new(helper.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(
            line.trim(),
            "stopped",
            "a thread of another process cannot be stopped here: run this as root, or set kernel.yama.ptrace_scope=0"
        );
        Self { helper, pipe }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.flush();
        }
        let _ = self.helper.wait();
    }
}

/// Status and first words of a probe.
async fn says(world: &World, controller: &Operator, path: &str, status: u16, words: &str) {
    world
        .eventually(&format!("{path} to say {status} {words}"), HUNG, async || {
            let (got, text) = controller.probe(path).await?;
            if got == status && text.starts_with(words) {
                Ok(())
            } else {
                Err(format!("{got} {text}"))
            }
        })
        .await;
}

#[tokio::test]
async fn a_main_loop_that_hangs_is_not_alive_and_one_that_goes_on_is() {
    let world = World::builder("hang")
        .controller_flags(&["--lease-duration", "1h"])
        .start()
        .await;
    let controller = world.controller();
    world.user("before").viewer(PAYMENTS).apply().await;
    world.ready("before").await;
    says(&world, controller, "/livez", 200, "ok").await;
    says(&world, controller, "/readyz", 200, "ok: leads").await;
    // The first thread of the process is the one with the main loop; others answer the probes.
    let id = controller.id().await.unwrap();
    let stopped = Stopped::thread(id);
    says(
        &world,
        controller,
        "/livez",
        503,
        "hangs: the main loop has not come round for 3",
    )
    .await;
    drop(stopped);
    says(&world, controller, "/livez", 200, "ok").await;
    world.user("after").viewer(PAYMENTS).apply().await;
    world.ready("after").await;
    // With no thread left there is no answer, which fails the probe as well.
    controller.freeze().await;
    assert!(controller.probe("/livez").await.is_err());
    controller.thaw().await;
    says(&world, controller, "/livez", 200, "ok").await;
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_no_reason_to_be_restarted() {
    // Others would wait for it, too.
    let cluster = Cluster::private("probes").await;
    let quick = [
        "--lease-name",
        "programmatic-users",
        "--lease-duration",
        "5s",
        "--create-timeout",
        "2s",
    ];
    let world = World::builder("probes")
        .on(cluster)
        .controller_flags(&quick)
        .start()
        .await;
    let leader = world.controller();
    says(&world, leader, "/readyz", 200, "ok: leads").await;
    let standby = world.replica("standby").await;
    says(&world, &standby, "/readyz", 200, "ok: stands by").await;

    cluster.control("freeze", "kube-apiserver").unwrap();
    // A leader that cannot renew its Lease ends by itself; a standby waits, alive and not ready.
    says(
        &world,
        &standby,
        "/readyz",
        503,
        "not ready: the Lease cannot be read",
    )
    .await;
    world
        .eventually("the leader to give up", SOON, async || {
            leader.ended().await.ok_or_else(|| "it runs".to_owned())
        })
        .await;
    // So does one that is started in the meantime.
    let late = Operator::prepare(world.dir(), "late", standby.options().clone()).unwrap();
    late.launch().await.unwrap();
    says(&world, &late, "/readyz", 503, "not ready: starting").await;
    let alive = async || {
        for controller in [&standby, &late] {
            let (status, text) = controller.probe("/livez").await?;
            if status != 200 {
                return Err(format!("{status} {text}"));
            }
        }
        Ok(())
    };
    // For longer than the watchdog is patient.
    let span = programmatic_users::health::watchdog::PATIENCE + Duration::from_secs(5);
    crate::support::wait::always("being alive", span, alive)
        .await
        .unwrap();
    cluster.control("thaw", "kube-apiserver").unwrap();

    world
        .eventually("one of the two to lead", SOON, async || {
            for controller in [&standby, &late] {
                if controller.leads().await == Ok(true) {
                    return Ok(());
                }
            }
            Err("none does".to_owned())
        })
        .await;
    for controller in [&standby, &late] {
        says(&world, controller, "/readyz", 200, "ok: ").await;
        says(&world, controller, "/livez", 200, "ok").await;
    }
    world.user("after").viewer(PAYMENTS).apply().await;
    world.ready("after").await;
    standby.stop().await;
    late.stop().await;
}

#[tokio::test]
async fn a_platform_that_does_not_answer_is_no_reason_either() {
    let world = World::builder("probes-platform").drift("1s").start().await;
    world.platform().freeze().await;
    world.user("stuck").viewer(PAYMENTS).apply().await;
    let running = async || {
        let text = world.controller().metrics().await;
        let stuck = text.lines().any(|l| {
            l.strip_prefix("programmatic_users_reconciles_running{kind=\"ProgrammaticUser\"} ")
                .is_some_and(|n| n != "0")
        });
        if stuck { Ok(()) } else { Err(text) }
    };
    world.eventually("a reconcile to wait", SOON, running).await;
    for (path, words) in [("/livez", "ok"), ("/readyz", "ok: leads")] {
        says(&world, world.controller(), path, 200, words).await;
    }
    world.platform().thaw().await;
    world.ready("stuck").await;
}
