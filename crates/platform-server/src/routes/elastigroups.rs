//! The resources of accounts: groups of machines. They run nothing; policies allow or deny access to them.

use std::collections::HashSet;

use axum::body::Bytes;
use axum::extract::{Extension, Path};

use super::{Admitted, Outcome};
use crate::auth::Reader;
use crate::reply::Answer;
use crate::resource::Resource;
use crate::store::elastigroups::{self, Tag};
use crate::validate::{Object, Problems};

const KIND: &str = "spotinst:aws:ec2:group";

/// At the place where the vendor's clients send them. Each key once: a condition of a policy is about one value.
fn read_tags(group: &Object, problems: &mut Problems) -> Vec<Tag> {
    let compute = group.object("compute", problems);
    let tags = compute
        .object("launchSpecification", problems)
        .objects("tags", problems);
    let mut seen = HashSet::new();
    let mut read = Vec::with_capacity(tags.len());
    for tag in tags {
        let tag_key = tag.required("tagKey", problems);
        let tag_value = tag.required("tagValue", problems);
        if !tag_key.is_empty() && !seen.insert(tag_key.clone()) {
            problems.add(&tag.path("tagKey"), "contains a duplicate value");
        }
        read.push(Tag { tag_key, tag_value });
    }
    read
}

pub(super) async fn list(Extension(call): Admitted, mut conn: Reader) -> Outcome {
    let mut groups = elastigroups::list(&mut conn, call.account()?).await?;
    groups.retain(|g| call.may(&g.id, g.attributes()));
    Ok(Answer::Items(
        KIND,
        groups.iter().map(elastigroups::Elastigroup::json).collect(),
    ))
}

pub(super) async fn details(Extension(call): Admitted, Path(id): Path<String>, mut conn: Reader) -> Outcome {
    let group = elastigroups::find(&mut conn, call.account()?, &id)
        .await?
        .ok_or_else(|| Resource::Elastigroup.missing(&id))?;
    Ok(Answer::one(KIND, group.json()))
}

pub(super) async fn create(Extension(call): Admitted, bytes: Bytes) -> Outcome {
    let (name, tags) = Object::read(&bytes, |body, problems| {
        let group = body.object("group", problems);
        let name = group.name("name", problems);
        let has_tags = group.has("compute");
        let tags = has_tags.then(|| read_tags(&group, problems));
        (name, tags.unwrap_or_default())
    })?;
    let (call, mut tx) = call.begin().await?;
    // It has no id yet: a right to certain ones is none to make more.
    if !call.may("", elastigroups::attributes(&name, &tags)) {
        return Err(call.refusal());
    }
    let group = elastigroups::create(&mut tx, call.account()?, &name, tags).await?;
    call.done(tx, &group.id).await?;
    Ok(Answer::one(KIND, group.json()))
}

pub(super) async fn delete(Extension(call): Admitted) -> Outcome {
    let (call, mut tx) = call.begin().await?;
    if !elastigroups::delete(&mut tx, call.account()?, call.id()).await? {
        return Err(Resource::Elastigroup.missing(call.id()));
    }
    call.done(tx, call.id()).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::{Method, Request, StatusCode};
    use tower::ServiceExt as _;

    use crate::edge;
    use crate::routes::tests::platform;
    use crate::store::accounts;

    /// Between authorization and write.
    #[tokio::test]
    async fn what_is_made_in_an_account_that_goes_meanwhile_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut platform = platform(directory.path()).await;
        let account = platform.take_first_start().unwrap().accounts[1].0.clone();
        let service = edge::service(platform.app.clone());
        let send = |method: Method| {
            let request = Request::builder()
                .method(method)
                .uri(format!("/aws/ec2/group?accountId={account}"))
                .header("authorization", format!("Bearer {}", "a".repeat(64)))
                .body(Body::from(r#"{"group": {"name": "web"}}"#));
            service.clone().oneshot(request.unwrap())
        };
        // The time of the token's use is news once.
        assert_eq!(send(Method::GET).await.unwrap().status(), StatusCode::OK);
        let mut tx = platform.app.store.write().await.unwrap();
        let made = tokio::spawn(send(Method::POST));
        // The request is authorized and waits for the lock.
        tokio::time::sleep(Duration::from_millis(500)).await;
        accounts::delete(&mut tx, &account).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(made.await.unwrap().unwrap().status(), StatusCode::BAD_REQUEST);
    }
}
