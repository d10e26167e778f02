//! `rotate` and `revoke`: a new token. After `rotate` the old one stays valid for the overlap; after `revoke` all older
//! ones die at once.

use std::io::{IsTerminal as _, Write as _};

use super::cluster::{Cluster, ClusterArgs};
use super::follow::{WaitArgs, Wish, replace};
use super::objects;
use super::outcome::{Failure, Outcome};
use super::output::{OutputArgs, clean};
use super::view::UserView;

/// Flags of `rotate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The user, in the namespace of -n or of the context
    #[arg(value_name = "NAME")]
    name: String,
    /// Whether to wait.
    #[command(flatten)]
    wait: WaitArgs,
    /// The cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Form of the result.
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `revoke`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    /// The same as for `rotate`.
    #[command(flatten)]
    same: Args,
}

pub(super) async fn run(args: Args) -> Outcome {
    let cluster = args.cluster.connect().await?;
    replace(&cluster, &args.name, Wish::Rotate, args.wait, args.output).await
}

pub(super) async fn revoke(args: RevokeArgs) -> Outcome {
    let RevokeArgs { yes, same: args } = args;
    if !yes && !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "revoke kills the token that pods use now: give --yes where there is no terminal".to_owned(),
        ));
    }
    let cluster = args.cluster.connect().await?;
    if !yes {
        confirm(&cluster, &args.name).await?;
    }
    replace(&cluster, &args.name, Wish::Revoke, args.wait, args.output).await
}

/// Asks, and wants the name typed: `y` is typed too easily.
async fn confirm(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    let question = question(&UserView::new(&objects::user(cluster, name).await?));
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{}", clean(&question)).and_then(|()| stderr.flush());
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.ok().and_then(Result::ok).unwrap_or_default();
    if answer.trim() == name {
        Ok(())
    } else {
        Err(Failure::Failed("nothing was done".to_owned()))
    }
}

fn question(user: &UserView) -> String {
    let named = user.readers(usize::MAX);
    let readers = if named.is_empty() {
        "every program that uses it"
    } else {
        named.as_str()
    };
    format!(
        "The token of {} that ends in {} dies as soon as a new one is in Secret {}; {readers} will be refused until restarted.\nType the name of the user to go on: ",
        user.path(),
        user.token_last_digits.as_deref().unwrap_or("-"),
        user.secret_name.as_deref().unwrap_or("-"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{UserView, question};

    fn asked(status: &Value) -> String {
        let object = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser",
            "metadata": {"name": "ci", "namespace": "payments"}, "status": status,
        }))
        .unwrap();
        question(&UserView::new(&object))
    }

    #[test]
    fn the_question_says_how_many_will_be_refused() {
        let web = json!({"kind": "Deployment", "name": "web"});
        let text = asked(&json!({"consumers": [web], "moreConsumers": 48}));
        assert!(
            text.contains("; Deployment/web, and 48 more will be refused"),
            "{text}"
        );
        let text = asked(&json!({"secretName": "ci", "tokenLastDigits": "9f3c"}));
        assert!(
            text.starts_with("The token of payments/ci that ends in 9f3c dies"),
            "{text}"
        );
        assert!(
            text.contains("Secret ci; every program that uses it will be refused"),
            "{text}"
        );
    }
}
