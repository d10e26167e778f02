//! A new token, while whoever has the old one goes on.

use super::{Demo, NAMESPACE, SOON, check, eventually};

impl Demo {
    pub(super) async fn rotation(&mut self) -> Result<(), String> {
        self.next("A new token on demand; the old one stays valid for its overlap");
        let (old_id, old) = (self.user_id("dashboard").await?, self.token("dashboard").await?);
        let ask = "programmatic-users.io/rotate-at=now";
        self.kubectl(&["-n", NAMESPACE, "annotate", "pu", "dashboard", ask])?;
        let new = eventually("another token in the Secret", SOON, async || {
            match self.token("dashboard").await {
                Ok(token) if token != old => Ok(token),
                Ok(_) => Err("the same token".to_owned()),
                Err(error) => Err(error),
            }
        })
        .await?;
        let new_id = eventually("the object to tell", SOON, async || {
            let id = self.user_id("dashboard").await?;
            if id == old_id { Err(id) } else { Ok(id) }
        })
        .await?;
        println!("   user {new_id} replaces user {old_id}");
        check(self.platform.accepts(&new).await, "the new token works")?;
        check(
            self.platform.accepts(&old).await,
            "the old one works, too, for 24 hours unless spec.rotation.overlap says otherwise",
        )
    }
}
