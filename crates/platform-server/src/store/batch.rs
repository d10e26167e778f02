//! Several statements in one go: on `SQLite` each trip to the thread that owns the connection costs more than the
//! statement, and all other writers wait for it.

use std::fmt::Write as _;

use sqlx::{AnyPool, AssertSqlSafe};

use super::{BeginWrite, Connection};

/// A statement that fails, and the batch with it, unless a condition holds by then.
macro_rules! require {
    ($($condition:expr),+ $(,)?) => {
        // A grant of no policy, which the table refuses.
        concat!("INSERT INTO policy_grant (policy_id) SELECT NULL WHERE NOT (", $($condition),+, ")")
    };
}
pub(super) use require;

/// As the driver calls it.
const SQLITE: &str = "SQLite";

/// Statements in one text: it has a limit, and its values have.
pub(super) const TOGETHER: usize = 100;

#[derive(Debug, Clone)]
enum Value {
    Text(Option<String>),
    Number(i64),
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_owned())
    }
}

/// Statements that write and return no rows.
#[derive(Debug, Default)]
pub(crate) struct Batch(Vec<(&'static str, Vec<Value>)>);

impl Batch {
    /// Adds a statement; its values follow by [`Batch::bind`].
    pub(super) fn statement(&mut self, sql: &'static str) -> &mut Self {
        self.0.push((sql, Vec::new()));
        self
    }

    /// The next value of the last statement.
    #[allow(private_bounds)]
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        if let Some((_, values)) = self.0.last_mut() {
            values.push(value.into());
        }
        self
    }

    /// Executes them, the first first.
    pub(crate) async fn execute(self, conn: &mut Connection) -> Result<(), sqlx::Error> {
        if conn.backend_name() != SQLITE {
            for (sql, values) in self.0 {
                execute(conn, sql.to_owned(), values).await?;
            }
            return Ok(());
        }
        let mut rest = self.0;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(TOGETHER));
            let (sql, values) = join(rest);
            execute(conn, sql, values).await?;
            rest = later;
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One batch of several, in their order.
    pub(super) fn joined<'a>(batches: impl IntoIterator<Item = &'a Self>) -> Self {
        Self(batches.into_iter().flat_map(|b| b.0.iter().cloned()).collect())
    }

    /// Executes them as a transaction.
    pub(super) async fn commit(self, writer: &AnyPool, begin: BeginWrite) -> Result<(), sqlx::Error> {
        // In one text where that is all it takes.
        if begin.lock.is_some() || self.len() > 2 * TOGETHER {
            let mut tx = begin.on(writer).await?;
            self.execute(&mut tx).await?;
            return tx.commit().await;
        }
        let mut conn = writer.acquire().await?;
        let (sql, values) = join(self.0);
        let done = execute(&mut conn, format!("{};\n{sql}COMMIT;", begin.begin), values).await;
        if done.is_err() {
            // With its transaction, if there is one; the next writer has a new one. The cause is the answer, whatever closing
            // says: what lost the connection fails both.
            let _ = conn.close().await;
        }
        done
    }
}

async fn execute(conn: &mut Connection, sql: String, values: Vec<Value>) -> Result<(), sqlx::Error> {
    // Made of constants and numbers alone.
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    query.execute(conn).await?;
    Ok(())
}

/// One text, in which every statement's `$1` is the first of its own values.
fn join(statements: Vec<(&'static str, Vec<Value>)>) -> (String, Vec<Value>) {
    let (mut joined, mut all) = (String::new(), Vec::new());
    for (sql, values) in statements {
        let mut parts = sql.split('$');
        joined.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = part.split_at(digits);
            let number: usize = number.parse().unwrap_or_default();
            // Writing into a String cannot fail.
            let _ = write!(joined, "${}{rest}", number + all.len());
        }
        joined.push_str(";\n");
        all.extend(values);
    }
    (joined, all)
}

#[cfg(test)]
mod tests {
    use super::{Batch, join};

    #[test]
    fn numbers_go_on_from_statement_to_statement() {
        let mut batch = Batch::default();
        batch.statement("INSERT INTO a VALUES ($1, $2)").bind("x").bind(7);
        batch.statement("DELETE FROM b WHERE c = $1 OR d = $1").bind("y");
        let (sql, values) = join(batch.0);
        assert_eq!(
            sql,
            "INSERT INTO a VALUES ($1, $2);\nDELETE FROM b WHERE c = $3 OR d = $3;\n"
        );
        assert_eq!(values.len(), 3);
    }
}
