//! The steps of the demo.

mod current;
mod rotation;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};
use programmatic_users::api::{ProgrammaticUser, READY};
use reqwest::Method;
use serde_json::Value;

use crate::support::cluster::{Cluster, root};
use crate::support::observe::{condition, conditions, looks_like_token, values};
use crate::support::operator::{self, Operator};
use crate::support::platform::{self, Platform};
use crate::support::wait::{SOON, eventually};
use crate::support::{BILLING, PAYMENTS, pod};

const NAMESPACE: &str = "payments";
const OPERATOR_NAMESPACE: &str = "programmatic-users";
/// The image that the example's Deployment names; made from this host's busybox.
const IMAGE: &str = "busybox:1.36";
const USERS: [&str; 3] = ["dashboard", "cost-report", "scaler"];

struct Demo {
    cluster: Cluster,
    client: Client,
    platform: Platform,
    operator: Operator,
    dir: PathBuf,
    step: u32,
}

/// All steps; ends platform and controller unless they are to be kept.
pub async fn run(dir: PathBuf, keep: bool) -> Result<(), String> {
    let started = Instant::now();
    let mut demo = start(dir, keep).await?;
    let shown = demo.show().await;
    // The demo leaves a cluster that it did not start as it was, also where a step failed.
    if demo.cluster.is_external() && !(keep && shown.is_ok()) {
        current::remove(&demo.cluster)?;
    }
    shown?;
    println!("\nEverything held, in {:.0} s.", started.elapsed().as_secs_f32());
    if keep {
        demo.leave_running().await?;
    } else {
        demo.operator.stop().await;
        demo.platform.stop().await;
    }
    Ok(())
}

fn headline(number: u32, text: impl Display) {
    println!("\n{number}. {text}");
}

fn indent(text: &str) {
    for line in text.lines() {
        println!("     {line}");
    }
}

fn check(holds: bool, claim: impl Display) -> Result<(), String> {
    if holds {
        println!("   ok: {claim}");
        Ok(())
    } else {
        Err(format!("this did not hold: {claim}"))
    }
}

async fn start(dir: PathBuf, keep: bool) -> Result<Demo, String> {
    let current = current::kubeconfig()?;
    let title = if current.is_some() {
        "The current cluster"
    } else {
        "A real Kubernetes control plane"
    };
    headline(1, title);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let run = dir.join("plane");
    let start = move || {
        let cluster = match current {
            Some(kubeconfig) => current::connect(&kubeconfig)?,
            None => current::start(run, keep)?,
        };
        cluster.install_crds()?;
        Ok::<_, String>(cluster)
    };
    let cluster = tokio::task::spawn_blocking(start)
        .await
        .map_err(|e| e.to_string())??;
    let client = cluster.client_as("programmatic-users-demo").await;
    let info = cluster.info();
    let (version, server) = current::describe(&cluster)?;
    check(
        true,
        format!("Kubernetes {version} answers at {server}, and serves our three kinds"),
    )?;
    if cluster.has_node() {
        println!("   with a real node: pods run in containers");
    } else {
        println!("   without a node ({}):", info.node_reason);
        println!(
            "   containers' commands run as local processes, with exactly the environment of the pod template"
        );
    }

    headline(2, "The platform, a process of its own with a database of its own");
    let options = platform::Options {
        address: info.host_address.clone(),
        organization: "Acme".to_owned(),
        accounts: [(PAYMENTS, "payments"), (BILLING, "billing")]
            .map(|(i, n)| (i.to_owned(), n.to_owned()))
            .into(),
        flags: vec![],
        database: None,
    };
    let platform = Platform::start(&dir.join("platform"), options).await?;
    let group = serde_json::json!({"group": {"name": "web"}});
    let path = format!("/aws/ec2/group?accountId={PAYMENTS}");
    let made = platform
        .call(Method::POST, &path, &platform.admin_token, Some(&group))
        .await?;
    check(
        made.status == 200,
        format!("the administrator's token opens the API at {}", platform.url()),
    )?;

    headline(3, "The operator, a third process");
    cluster.kubectl(&["create", "namespace", OPERATOR_NAMESPACE])?;
    let file = format!(
        "--from-file=token={}",
        platform.dir().join("admin-token").display()
    );
    cluster.kubectl(&[
        "-n",
        OPERATOR_NAMESPACE,
        "create",
        "secret",
        "generic",
        "acme-admin",
        &file,
    ])?;
    let endpoint = format!("programmatic-users.io/endpoint={}", platform.url());
    let secret = ["annotate", "secret", "acme-admin", &endpoint];
    cluster.kubectl(&[&["-n", OPERATOR_NAMESPACE], &secret[..]].concat())?;
    let options = operator::Options {
        kubeconfig: info.kubeconfig.clone().into(),
        namespace: OPERATOR_NAMESPACE.to_owned(),
        ..operator::Options::default()
    };
    let operator = Operator::start(&dir, "controller", options).await?;
    check(true, "the controller is ready")?;
    Ok(Demo {
        cluster,
        client,
        platform,
        operator,
        dir,
        step: 3,
    })
}

/// The examples in order of their names.
fn examples() -> Result<Vec<PathBuf>, String> {
    let dir = root().join("examples");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    Ok(files)
}

impl Demo {
    async fn show(&mut self) -> Result<(), String> {
        self.manifests().await?;
        self.platforms_view().await?;
        self.pod_uses_its_token().await?;
        self.refusals().await?;
        self.rotation().await?;
        self.deletion().await
    }

    fn next(&mut self, text: impl Display) {
        self.step += 1;
        headline(self.step, text);
    }

    /// Shows and runs kubectl.
    fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        println!("   $ kubectl {}", args.join(" "));
        let output = self.cluster.kubectl(args)?;
        indent(&output);
        Ok(output)
    }

    fn apply(&self, file: &Path) -> Result<(), String> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("   $ kubectl apply -f examples/{name}");
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        // The platform of the demo listens on a free port.
        let text = text.replace("http://127.0.0.1:8700", self.platform.url());
        indent(&self.cluster.kubectl_with(&["apply", "-f", "-"], Some(&text))?);
        Ok(())
    }

    fn users(&self) -> Api<ProgrammaticUser> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn user_id(&self, name: &str) -> Result<String, String> {
        let user = self.users().get(name).await.map_err(|e| e.to_string())?;
        user.status
            .and_then(|s| s.user_id)
            .ok_or_else(|| format!("{name} has no id in its status"))
    }

    async fn manifests(&mut self) -> Result<(), String> {
        self.next("Manifests become users of the platform");
        for file in examples()? {
            self.apply(&file)?;
        }
        let users = self.users();
        for name in USERS {
            eventually(&format!("{name} to be Ready"), SOON, async || {
                let user = users.get(name).await.map_err(|e| e.to_string())?;
                if condition(&user, READY).is_some_and(|c| c.status == "True") {
                    return Ok(());
                }
                Err(conditions(&user.status.unwrap_or_default().conditions))
            })
            .await?;
        }
        self.kubectl(&["-n", NAMESPACE, "get", "pu"])?;
        check(true, "all three are Ready")?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let secret = secrets
            .get("cost-report-token")
            .await
            .map_err(|e| e.to_string())?;
        let data = secret.data.unwrap_or_default();
        let value = |key: &str| data.get(key).map(|b| String::from_utf8_lossy(&b.0).into_owned());
        let (token, file) = (value("SPOTINST_TOKEN"), value("spot.ini"));
        let rendered = token
            .zip(file)
            .is_some_and(|(t, f)| f.contains(&format!("token = {t}\n")));
        check(
            rendered,
            "Secret cost-report-token has the file spot.ini of its template, with the token in it",
        )
    }

    async fn platforms_view(&mut self) -> Result<(), String> {
        self.next("The same users as the platform sees them");
        let list = self.platform.users().await;
        println!("   GET /setup/organization/user");
        for user in &list {
            println!(
                "     {:<14} {:<13} {}",
                text(&user["userId"]),
                text(&user["type"]),
                text(&user["username"])
            );
        }
        check(list.len() == USERS.len(), "three users, all of type programmatic")?;
        for name in USERS {
            let id = self.user_id(name).await?;
            let user = self
                .platform
                .user(&id)
                .await
                .map_err(|s| format!("GET /setup/user/{id} -> {s}"))?;
            println!("   GET /setup/user/{id}");
            for policy in user["policies"].as_array().into_iter().flatten() {
                let accounts: Vec<String> = policy["accountIds"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(text)
                    .collect();
                println!(
                    "     policy {:<24} in {}",
                    text(&policy["policyName"]),
                    accounts.join(", ")
                );
            }
            for token in user["tokens"].as_array().into_iter().flatten() {
                let (digits, at) = (text(&token["tokenLastDigits"]), text(&token["createdAt"]));
                println!("     token  …{digits}, made {at}");
            }
            let tokens = user["tokens"].as_array().map_or(0, Vec::len);
            check(
                tokens == 1 && !user.to_string().contains("\"token\":"),
                format!("{name}: one token, not shown again"),
            )?;
        }
        Ok(())
    }

    async fn template(&self, container: &str) -> Result<Container, String> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let deployment = api.get("dashboard").await.map_err(|e| e.to_string())?;
        let pod = deployment
            .spec
            .and_then(|s| s.template.spec)
            .ok_or("the Deployment has no pod template")?;
        let found = pod.containers.into_iter().find(|c| c.name == container);
        found.ok_or_else(|| format!("the Deployment has no container {container}"))
    }

    async fn pod_uses_its_token(&mut self) -> Result<(), String> {
        let place = if self.cluster.has_node() {
            "A pod"
        } else {
            "A process with the pod's environment"
        };
        self.next(format!("{place} calls the platform with $SPOTINST_TOKEN"));
        let output = if self.cluster.has_node() {
            self.deployment_log().await?
        } else {
            let mut main = self.template("reader").await?;
            // The container's loop, once.
            main.command = Some(once());
            self.script("reader", main).await?.output
        };
        indent(
            output
                .lines()
                .find(|l| l.contains("\"response\""))
                .unwrap_or(&output),
        );
        check(output.contains("\"web\""), "it read the groups of its account")
    }

    /// What the Deployment's containers say.
    async fn deployment_log(&self) -> Result<String, String> {
        self.cluster.kubectl(&[
            "-n",
            NAMESPACE,
            "rollout",
            "status",
            "deployment/dashboard",
            "--timeout=60s",
        ])?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let list = ListParams::default().labels("app=dashboard");
        let found = pods.list(&list).await.map_err(|e| e.to_string())?.items;
        let name = found.first().ok_or("the Deployment has no pod")?.name_any();
        println!("   $ kubectl -n {NAMESPACE} logs {name} -c reader");
        let log = async |container: &str| {
            let container = Some(container.to_owned());
            pods.logs(
                &name,
                &LogParams {
                    container,
                    ..LogParams::default()
                },
            )
            .await
            .map_err(|e| e.to_string())
        };
        let checker = eventually("the second container to speak", SOON, async || {
            let text = log("checker").await?;
            if text.contains('\n') { Ok(text) } else { Err(text) }
        });
        check(
            checker.await?.contains("64 characters"),
            "its second container got the token through secretKeyRef",
        )?;
        eventually("the first container to speak", SOON, async || {
            let text = log("reader").await?;
            if text.contains("\"response\"") {
                Ok(text)
            } else {
                Err(text)
            }
        })
        .await
    }

    async fn script(&self, name: &str, main: Container) -> Result<pod::Outcome, String> {
        pod::run(&self.cluster, &self.client, NAMESPACE, name, main).await
    }

    async fn refusals(&mut self) -> Result<(), String> {
        self.next("The same token, where its role ends");
        let calls = [
            (
                "create-group",
                "aws/ec2/group?accountId=$SPOTINST_ACCOUNT",
                "{\"group\":{\"name\":\"mine\"}}",
                "a viewer may not create a group",
            ),
            (
                "other-account",
                &format!("aws/ec2/group?accountId={BILLING}"),
                "",
                "nor read another account",
            ),
            (
                "create-user",
                "setup/user/programmatic",
                &format!(
                    "{{\"name\":\"mine\",\"accounts\":[{{\"id\":\"{PAYMENTS}\",\"role\":\"viewer\"}}]}}"
                ),
                "nor create a user",
            ),
            ("console", "console", "", "nor enter the console"),
        ];
        for (name, path, body, claim) in calls {
            let mut main = self.template("reader").await?;
            main.image = Some(pod::IMAGE.to_owned());
            main.image_pull_policy = Some("Never".to_owned());
            let post = if body.is_empty() {
                String::new()
            } else {
                format!(" --header 'Content-Type: application/json' --post-data '{body}'")
            };
            let auth = "--header \"Authorization: Bearer $SPOTINST_TOKEN\"";
            main.command = Some(shell(&format!(
                "wget -O - {auth}{post} \"$SPOTINST_ENDPOINT/{path}\" 2>&1"
            )));
            let outcome = self.script(name, main).await?;
            // Only the status line counts: the address that `wget` names may hold the same digits.
            let refusal = |line: &&str| line.contains("403 Forbidden") || line.contains("403: Forbidden");
            let refused = outcome.output.lines().find(refusal);
            let said = refused.unwrap_or(&outcome.output).trim();
            println!(
                "   {} /{path}: {said}",
                if body.is_empty() { "GET" } else { "POST" }
            );
            check(!outcome.succeeded && refused.is_some(), claim)?;
        }
        let token = self.token("dashboard").await?;
        let answer = self.platform.get("/console", &token).await;
        let page = strip_tags(&answer.message());
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        println!("   the console says: {page}");
        check(
            answer.status == 403 && page.to_lowercase().contains("programmatic user"),
            "the refusal says that programmatic users have no access to the console",
        )
    }

    /// The token in the user's Secret. Never shown.
    async fn token(&self, secret: &str) -> Result<String, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let secret = api.get(secret).await.map_err(|e| e.to_string())?;
        let token = values(&secret)
            .remove("SPOTINST_TOKEN")
            .filter(|t| looks_like_token(t));
        token.ok_or_else(|| "the Secret has no token".to_owned())
    }

    async fn deletion(&mut self) -> Result<(), String> {
        self.next("Deleting the object deletes the user, the Secret and the token");
        let (id, token) = (self.user_id("dashboard").await?, self.token("dashboard").await?);
        check(
            self.platform.accepts(&token).await,
            "the token is good until then",
        )?;
        self.kubectl(&["-n", NAMESPACE, "delete", "pu", "dashboard", "--timeout=60s"])?;
        let found = self.platform.user(&id).await;
        check(found.is_err(), format!("the platform has no user {id} any more"))?;
        let answer = self.platform.get("/setup/account", &token).await;
        println!(
            "   GET /setup/account with the token: {} {}",
            answer.status,
            answer.message()
        );
        check(answer.status == 401, "the token is dead")?;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        eventually("the Secret to be gone", SOON, async || {
            match api.get_opt("dashboard").await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err("it is still there".to_owned()),
                Err(e) => Err(e.to_string()),
            }
        })
        .await?;
        check(true, "the Secret is gone")?;
        check(
            self.platform.users().await.len() == USERS.len() - 1,
            "the other users are untouched",
        )
    }

    async fn leave_running(&self) -> Result<(), String> {
        let mut pids = String::new();
        for pid in [self.operator.detach().await, self.platform.detach().await]
            .into_iter()
            .flatten()
        {
            pids += &pid.to_string();
            pids.push('\n');
        }
        let file = self.dir.join("pids");
        std::fs::write(&file, pids).map_err(|e| format!("{}: {e}", file.display()))?;
        let url = self.platform.url();
        println!("\nLeft running (KEEP=1):");
        println!(
            "  platform API   {url}   (administrator's token in {})",
            self.platform.dir().join("admin-token").display()
        );
        println!("  console        {url}/console");
        println!("    e-mail       {}", self.platform.admin_email);
        println!(
            "    password in  {}",
            self.platform.dir().join("admin-password").display()
        );
        println!("  export KUBECONFIG={}", self.cluster.info().kubeconfig);
        println!("  end it with    make demo-stop");
        Ok(())
    }
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).into()
}

fn once() -> Vec<String> {
    shell(
        "wget -q -O - --header \"Authorization: Bearer $SPOTINST_TOKEN\" \
         \"$SPOTINST_ENDPOINT/aws/ec2/group?accountId=$SPOTINST_ACCOUNT\"",
    )
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The words of a page.
fn strip_tags(page: &str) -> String {
    let body = page.split("<body").nth(1).unwrap_or(page);
    let mut inside = body.len() < page.len();
    let mut words = String::new();
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                words.push(' ');
            }
            c if !inside => words.push(c),
            _ => {}
        }
    }
    words
}
