//! One life of a user: made, changed by people in some way, and deleted.

use std::fmt;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use programmatic_users::api::{
    ProgrammaticUser, READY, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, Rotation,
};
use serde_json::{Value, json};

use super::dice::Dice;
use crate::support::observe::{condition, conditions, values};
use crate::support::wait::eventually;
use crate::support::{PAYMENTS, World};

/// Longer than anything should take, backoffs after many faults included.
const PATIENCE: Duration = Duration::from_mins(6);

/// What people do to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Rotate,
    Revoke,
    Describe,
    LoseSecret,
    EditSecret,
}

const ACTS: [Act; 5] = [
    Act::Rotate,
    Act::Revoke,
    Act::Describe,
    Act::LoseSecret,
    Act::EditSecret,
];

/// How a life went.
#[derive(Debug)]
pub struct Story {
    name: String,
    steps: Vec<String>,
    replaced: usize,
    wrong: Option<String>,
}

impl Story {
    pub fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }

    pub fn replaced(&self) -> usize {
        self.replaced
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.steps.join(", "))?;
        self.wrong
            .as_ref()
            .map_or(Ok(()), |wrong| write!(f, "; WRONG: {wrong}"))
    }
}

/// Lives the `n`th life.
pub async fn live(world: &World, dice: &Dice, n: u64) -> Story {
    let mut story = Story {
        name: format!("u{n}"),
        steps: Vec::new(),
        replaced: 0,
        wrong: None,
    };
    story.wrong = go(world, dice, &mut story).await.err();
    story
}

async fn go(world: &World, dice: &Dice, story: &mut Story) -> Result<(), String> {
    let name = story.name.clone();
    let short = Rotation {
        overlap: programmatic_users::api::Duration::parse("1s"),
        ..Rotation::default()
    };
    world
        .user(&name)
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(short))
        .try_apply()
        .await?;
    // Some are deleted before they are ready.
    if dice.roll(&format!("{name} hasty"), 10) > 0 {
        let mut ready = good(world, &name, None).await?;
        story.steps.push("made".to_owned());
        for i in 0..dice.roll(&format!("{name} acts"), 3) {
            let Some(user) = &ready else { break };
            let act = ACTS[usize::try_from(dice.roll(&format!("{name} act {i}"), 5)).unwrap_or_default()];
            let old = user.status.as_ref().and_then(|s| s.user_id.clone());
            act.on(world, &name, &format!("{i}")).await?;
            ready = good(world, &name, old).await?;
            story.steps.push(format!("{act:?}"));
            story.replaced += usize::from(ready.is_some());
        }
    }
    delete(world, &name).await?;
    story.steps.push("deleted".to_owned());
    Ok(())
}

impl Act {
    async fn on(self, world: &World, name: &str, value: &str) -> Result<(), String> {
        let annotate = |key: &str| json!({"metadata": {"annotations": {key: value}}});
        let patch = match self {
            Self::Rotate => annotate(ROTATE_AT_ANNOTATION),
            Self::Revoke => annotate(REVOKE_NOW_ANNOTATION),
            Self::Describe => json!({"spec": {"description": format!("changed {value}")}}),
            Self::LoseSecret | Self::EditSecret => return self.on_secret(world, name).await,
        };
        world.change(name, patch).await
    }

    async fn on_secret(self, world: &World, name: &str) -> Result<(), String> {
        let secrets = world.secrets();
        let done = if self == Self::LoseSecret {
            secrets.delete(name, &DeleteParams::default()).await.map(drop)
        } else {
            let edit: Value = json!({"stringData": {"SPOTINST_TOKEN": "edited by hand"}});
            secrets
                .patch(name, &PatchParams::default(), &Patch::Merge(edit))
                .await
                .map(drop)
        };
        done.map_err(|e| e.to_string())
    }
}

/// Waits until the user is Ready with another user than `old` and with a token that works. `None`: it may not have
/// another attempt within the hour.
async fn good(world: &World, name: &str, old: Option<String>) -> Result<Option<ProgrammaticUser>, String> {
    eventually(&format!("{name} to be Ready"), PATIENCE, async || {
        let user = world.users().get(name).await.map_err(|e| e.to_string())?;
        let status = user.status.clone().unwrap_or_default();
        let reported = conditions(&status.conditions);
        let ready = condition(&user, READY);
        if ready.is_some_and(|c| c.reason == "CreateBudgetExhausted") {
            return Ok(None);
        }
        let settled =
            ready.is_some_and(|c| c.status == "True" && c.observed_generation == user.metadata.generation);
        if !settled || status.journal.pending.is_some() || (old.is_some() && status.user_id == old) {
            return Err(reported);
        }
        let secret = world
            .secrets()
            .get(name)
            .await
            .map_err(|e| format!("Ready, and its Secret: {e}"))?;
        let token = values(&secret).remove("SPOTINST_TOKEN").unwrap_or_default();
        world.remember_token(name, &token);
        if world.platform().accepts(&token).await {
            Ok(Some(user))
        } else {
            Err(format!("Ready, and its token does not work; {reported}"))
        }
    })
    .await
}

async fn delete(world: &World, name: &str) -> Result<(), String> {
    let users = world.users();
    users
        .delete(name, &DeleteParams::default())
        .await
        .map_err(|e| e.to_string())?;
    eventually(&format!("{name} to be gone"), PATIENCE, async || {
        match users.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(user)) => Err(conditions(&user.status.unwrap_or_default().conditions)),
            Err(e) => Err(e.to_string()),
        }
    })
    .await
}
