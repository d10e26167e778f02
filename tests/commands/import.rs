//! `import`: the manifest of a user that exists, adopted by replacement.

use serde_json::{Value, json};

use super::asked::{Said, of_world, platform_flags, run};
use super::unmanaged::{by_hand, id_of};
use crate::support::{BILLING, PAYMENTS, World};

fn import(world: &World, id: &str, args: &[&str]) -> Said {
    let flags = platform_flags(world);
    run(of_world(world)
        .args([
            "import",
            id,
            "--class",
            world.class_name(),
            "-n",
            world.namespace(),
        ])
        .args(&flags[2..])
        .args(args))
}

/// Policies and groups of a user of the platform, in an order of their own.
async fn access(world: &World, id: &str) -> (Vec<(String, Value)>, Vec<String>) {
    let user = world.platform().user(id).await.unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let each = |field: &str| user[field].as_array().cloned().unwrap_or_default();
    let mut policies: Vec<_> = each("policies")
        .iter()
        .map(|p| (text(&p["policyId"]), p["accountIds"].clone()))
        .collect();
    policies.sort_by(|a, b| a.0.cmp(&b.0));
    let mut groups: Vec<_> = each("groups").iter().map(|g| text(&g["id"])).collect();
    groups.sort();
    (policies, groups)
}

#[tokio::test]
async fn the_manifest_makes_a_new_user_with_the_same_rights() {
    let world = World::new("import").await;
    let viewer = by_hand(&world, "Team A/reads").await;
    let body = json!({"name": "mixed", "description": "by hand: # not yaml", "accounts": [
        {"id": PAYMENTS, "role": "editor"}, {"id": BILLING, "role": "viewer"}]});
    let made = world
        .platform()
        .post("/setup/user/programmatic", &world.platform().admin_token, &body)
        .await;
    let mixed = made.items()[0]["id"].as_str().unwrap().to_owned();
    let statement = json!({"statements": [{"effect": "ALLOW", "actions": ["ocean:*"], "resources": ["*"]}]});
    let policy = world.platform().make_policy("ocean: # only", &statement).await;
    let group = world.platform().make_group("readers").await;
    let body =
        json!({"name": "policies", "policies": [{"policyId": policy, "accountIds": [PAYMENTS, BILLING]}]});
    let made = world
        .platform()
        .post("/setup/user/programmatic", &world.platform().admin_token, &body)
        .await;
    assert_eq!(made.status, 200, "{}", made.message());
    let policies = made.items()[0]["id"].as_str().unwrap().to_owned();
    let grouped = world
        .platform()
        .put(
            &format!("/setup/user/{policies}/userGroupMapping"),
            &world.platform().admin_token,
            &json!({"userGroupIds": [group]}),
        )
        .await;
    assert_eq!(grouped.status, 200, "{}", grouped.message());

    for (id, name) in [
        (&viewer, "team-a-reads"),
        (&mixed, "mixed"),
        (&policies, "policies"),
    ] {
        let manifest = import(&world, id, &[]).expect(0);
        assert_eq!(manifest.err, "", "nothing stands in the way");
        let manifest = manifest.shows("applying this makes a NEW user");
        let manifest = manifest.shows(&format!("/setup/user/{id}"));
        world.apply_yaml(&manifest.out).unwrap();
        world.ready(name).await;
        let new = id_of(&world, name).await;
        assert_ne!(new, **id, "it is another user");
        assert_eq!(
            access(&world, &new).await,
            access(&world, id).await,
            "{}",
            manifest.out
        );
        assert!(
            world.platform().user(id).await.is_ok(),
            "the old one is left alone"
        );
        // What the manifest says is so.
        import(&world, &new, &[]).expect(1).tells(&format!(
            "user {new} is of ProgrammaticUser {}/{name}",
            world.namespace()
        ));
    }
    let spec = &import(&world, &mixed, &["-o", "json", "--name", "again"])
        .expect(0)
        .json();
    assert_eq!(spec["spec"]["description"], "by hand: # not yaml");
    assert_eq!(spec["spec"]["displayName"], "mixed");
    assert_eq!(
        spec["metadata"],
        json!({"name": "again", "namespace": world.namespace()})
    );
}

#[tokio::test]
async fn obstacles_are_noted_and_ids_of_no_programmatic_user_are_refused() {
    let world = World::new("import-notes").await;
    let id = by_hand(&world, "ci").await;
    let narrow = world.class("narrow").accounts(&[BILLING]).apply().await;
    let flags = platform_flags(&world);
    let with_class = |class: &str, id: &str| {
        run(of_world(&world)
            .args(["import", id, "--class", class, "-n", world.namespace()])
            .args(&flags[2..]))
    };
    let output = with_class(&narrow, &id).expect(0);
    let note = format!("NotAllowed: class {narrow} does not allow {PAYMENTS} among its accounts");
    output
        .tells(&note)
        .shows(&format!("# NOTE: the operator would refuse it: {note}"));
    world.user("ci").viewer(PAYMENTS).apply().await;
    import(&world, &id, &[])
        .expect(0)
        .tells("has a ProgrammaticUser ci already: give another --name");
    import(&world, &id, &["--name", "No_Name"])
        .expect(0)
        .tells("the API server would refuse it: ");

    with_class("nosuch", &id)
        .expect(1)
        .tells("there is no class nosuch");
    import(&world, "pu-00000000", &[])
        .expect(1)
        .tells("has no user pu-00000000: `unmanaged` shows the ids");
    import(&world, "../x", &[])
        .expect(1)
        .tells("is not one of the platform's");
    let people = world
        .platform()
        .get("/setup/organization/user", &world.platform().admin_token)
        .await;
    let person = people
        .items()
        .into_iter()
        .find(|u| u["type"] == "personal")
        .unwrap();
    import(&world, person["userId"].as_str().unwrap(), &[])
        .expect(1)
        .tells("is a person who signs in at the console");
    import(&world, &id, &["--organization", "other"])
        .expect(2)
        .tells("leave --organization out");
    run(of_world(&world).args(["import", &id])).expect(2);
}
