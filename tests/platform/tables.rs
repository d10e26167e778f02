//! What the database itself refuses, whatever the code above does.

use sqlx::{Connection as _, Executor as _};

use crate::support::{A, Server};

#[tokio::test]
async fn the_audit_log_only_grows_and_a_programmatic_user_has_no_password() {
    let server = Server::start().await;
    let (id, _) = server.user("viewer", A).await;
    let before = server.events("").await;
    sqlx::any::install_default_drivers();
    let url = crate::database_url(server.directory.path());
    let mut conn = sqlx::AnyConnection::connect(&url).await.unwrap();
    for statement in ["DELETE FROM audit", "UPDATE audit SET actor_id = 'x'"] {
        let refused = conn.execute(statement).await.unwrap_err().to_string();
        assert!(refused.contains("the audit log is append-only"), "{refused}");
    }
    assert_eq!(server.events("").await, before);
    let password = sqlx::query("INSERT INTO console_password (user_id, hash) VALUES ($1, 'x')").bind(&id);
    let refused = conn.execute(password).await.unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("check constraint"), "{refused}");
    // Nor can it become a person.
    let person =
        sqlx::query("UPDATE platform_user SET type = 'personal', email = 'x@y' WHERE id = $1").bind(&id);
    assert!(conn.execute(person).await.is_err());
    conn.close().await.unwrap();
}
