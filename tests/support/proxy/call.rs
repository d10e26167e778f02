//! One request: passed on, or what a fault makes of it.

use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use serde_json::Value;

use super::answers::{self, Answer, Fails, whole};
use super::{Act, Asked, Fault, Reply, Seen, Severed, State, Upstream, digest, lock};

/// One request on its way.
pub(super) struct Call<'a> {
    pub(super) state: &'a State,
    pub(super) parts: Parts,
    pub(super) bytes: Bytes,
    pub(super) seen: Seen,
    pub(super) line: usize,
    pub(super) page: Option<usize>,
}

impl Call<'_> {
    pub(super) async fn suffer(&self, fault: &Fault) -> Result<Answer, Severed> {
        let say = |what: &str| self.state.outcome(self.line, what.to_owned());
        match fault.act {
            Act::Note => {
                let reply = self.forward().await;
                fault.used();
                reply.map(|r| r.answer)
            }
            Act::KillBefore => {
                if !self.state.kill().await {
                    fault.give_back();
                    return self.forward().await.map(|r| r.answer);
                }
                say("NOT FORWARDED, CONTROLLER KILLED");
                fault.used();
                Err(Severed)
            }
            Act::KillAfter => {
                let reply = self.forward().await?;
                if !self.state.kill().await {
                    fault.give_back();
                    return Ok(reply.answer);
                }
                say(&format!(
                    "{}, CONTROLLER KILLED BEFORE THE ANSWER",
                    reply.status()
                ));
                fault.used();
                Err(Severed)
            }
            Act::DropAnswer => {
                let reply = self.forward().await?;
                say(&format!("{}, ANSWER DROPPED", reply.status()));
                fault.used();
                Err(Severed)
            }
            Act::Refuse(code) => {
                say(&format!("NOT FORWARDED, ANSWERED {code}"));
                fault.used();
                Ok(self.refusal(code))
            }
            Act::Echo(code) => {
                say(&format!("NOT FORWARDED, ANSWERED {code} WITH ITSELF"));
                fault.used();
                let words = format!(
                    "{:?} {}",
                    self.parts.headers,
                    String::from_utf8_lossy(&self.bytes)
                );
                Ok(match &self.state.upstream {
                    Upstream::Kubernetes { .. } => answers::kubernetes_saying(code, &words),
                    Upstream::Platform { .. } => answers::platform_saying(code, &words),
                })
            }
            Act::ApplyThen(code) => {
                let reply = self.forward().await?;
                say(&format!("{}, ANSWERED {code}", reply.status()));
                fault.used();
                Ok(self.refusal(code))
            }
            Act::Hold => {
                say("HELD");
                fault.used();
                fault.released.wait().await;
                let reply = self.forward().await?;
                let late = self.state.began.elapsed();
                say(&format!(
                    "HELD, forwarded at {}.{:03}: {}",
                    late.as_secs(),
                    late.subsec_millis(),
                    reply.status()
                ));
                Ok(reply.answer)
            }
            Act::Stale => self.stale(fault).await,
            Act::Lie(lie) => {
                let reply = self.forward().await?;
                say(&format!("{}, ANSWERED A LIE: {lie:?}", reply.status()));
                fault.used();
                Ok(answers::lie(lie, reply.answer, &reply.bytes))
            }
        }
    }

    async fn stale(&self, fault: &Fault) -> Result<Answer, Severed> {
        let reply = self.forward().await?;
        let older = lock(&self.state.memory).older(&self.seen.name, &reply.bytes);
        let Some(older) = older else {
            fault.give_back();
            return Ok(reply.answer);
        };
        self.state
            .outcome(self.line, "200, ANSWERED AN OLDER VERSION".to_owned());
        fault.used();
        let mut answer = Response::new(whole(older));
        let json = "application/json".parse().expect("a media type");
        answer.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
        Ok(answer)
    }

    fn refusal(&self, code: u16) -> Answer {
        match &self.state.upstream {
            Upstream::Kubernetes { .. } => answers::kubernetes(code),
            Upstream::Platform { .. } => answers::platform(code),
        }
    }

    /// Sends it on and waits for the answer.
    pub(super) async fn forward(&self) -> Result<Reply, Severed> {
        if let Some(page) = self.page {
            self.leaves(page).await;
        }
        let sent = match &self.state.upstream {
            Upstream::Kubernetes { client, .. } => self.to_kubernetes(client).await,
            Upstream::Platform { http, url, .. } => self.to_platform(http, url).await,
        };
        let answer = sent.map_err(|error| {
            self.state
                .outcome(self.line, format!("no answer from the other side: {error}"));
            Severed
        })?;
        let status = answer.status();
        self.state.outcome(self.line, status.as_u16().to_string());
        if self.seen.watch {
            let bytes = Bytes::new();
            return Ok(Reply { answer, bytes });
        }
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.map_err(|_| Severed)?.to_bytes();
        if status.is_success() {
            lock(&self.state.memory).keep(&self.seen, &bytes);
            if let Some(page) = self.page {
                self.made(page, &bytes);
            }
        }
        let answer = Response::from_parts(parts, whole(bytes.clone()));
        Ok(Reply { answer, bytes })
    }

    /// Notes in the ledger that the platform gets it now.
    async fn leaves(&self, page: usize) {
        let Upstream::Platform { revision, .. } = &self.state.upstream else {
            return;
        };
        let now = if self.seen.verb == "DELETE" {
            revision().await
        } else {
            0
        };
        match &mut lock(&self.state.ledger)[page] {
            Asked::Post(posted) => posted.forwarded = true,
            Asked::Delete(deleted) => {
                deleted.forwarded = true;
                deleted.revision = now;
            }
            Asked::Put { .. } => {}
        }
    }

    /// Notes who was made: the id, and a digest of the token.
    fn made(&self, page: usize, answer: &[u8]) {
        let value: Value = serde_json::from_slice(answer).unwrap_or_default();
        let item = &value["response"]["items"][0];
        if let Asked::Post(posted) = &mut lock(&self.state.ledger)[page]
            && let (Some(id), Some(token)) = (item["id"].as_str(), item["token"].as_str())
        {
            posted.made = Some((id.to_owned(), digest(token.as_bytes())));
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = self.parts.headers.clone();
        for hop in [
            HOST,
            CONNECTION,
            TRANSFER_ENCODING,
            CONTENT_LENGTH,
            ACCEPT_ENCODING,
        ] {
            headers.remove(hop);
        }
        headers
    }

    async fn to_kubernetes(&self, client: &kube::Client) -> Result<Answer, Fails> {
        let mut request = Request::new(kube::client::Body::from(self.bytes.clone()));
        *request.method_mut() = self.parts.method.clone();
        let path = self.parts.uri.path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() = path.parse()?;
        *request.headers_mut() = self.headers();
        let answer = client.send(request).await?;
        Ok(passed_on(
            answer.map(|body| body.map_err(Fails::from).boxed_unsync()),
        ))
    }

    async fn to_platform(&self, http: &reqwest::Client, url: &str) -> Result<Answer, Fails> {
        let path = self.parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let answer = http
            .request(self.parts.method.clone(), format!("{url}{path}"))
            .headers(self.headers())
            .body(self.bytes.clone())
            .send()
            .await?;
        let answer: Response<reqwest::Body> = answer.into();
        Ok(passed_on(
            answer.map(|body| body.map_err(Fails::from).boxed_unsync()),
        ))
    }
}

/// Without the headers that are between two neighbours only.
fn passed_on(mut answer: Answer) -> Answer {
    for hop in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        answer.headers_mut().remove(hop);
    }
    answer
}
