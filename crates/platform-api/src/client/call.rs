//! One call: its turn, its credential, its request and its answer.

use std::time::{Duration, Instant};

use futures::future::OptionFuture;
use serde::Serialize;

use super::Client;
use super::body::{self, Body};
use super::credential::CredentialFailover;
use super::error::{Error, Kind};
use super::limiter::CreatePermit;
use super::wire::{Route, reset_after, time};
use crate::Token;

/// How much later than the HTTP client a call is given up here.
const SLACK: Duration = Duration::from_millis(250);

/// How a call with the admin credential is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Sent again with the previous credential, if the current one is refused.
    Usual,
    /// Even while the credential counts as refused: to find out whether it still is.
    Probe,
}

impl Client {
    /// A call with the admin credential, when it is its turn.
    pub(super) async fn send<B: Serialize + Sync>(
        &self,
        route: &Route,
        how: Attempt,
        body: Option<&B>,
    ) -> Result<Body, Error> {
        let check = || {
            if how == Attempt::Probe {
                Ok(())
            } else {
                self.check()
            }
        };
        loop {
            check()?;
            let _turn = self.limiter.acquire(&self.caller).await?;
            // It may have been refused while this call waited.
            check()?;
            let refusals = self.admin.refusals();
            let reply = self
                .attempt(&self.shared, route, self.admin.at(refusals), body)
                .await;
            match &reply {
                Ok(_) if how == Attempt::Probe => self.admin.accepted(),
                Err(e) if e.kind == Kind::Unauthorized => {
                    let refusal = self.admin.refused(refusals, e);
                    self.report_refusal(how, refusal);
                    // The platform did nothing, so that the call may be repeated.
                    if matches!(
                        refusal,
                        CredentialFailover::Switched | CredentialFailover::TryNext
                    ) {
                        continue;
                    }
                }
                // An administrator of an organization may list its users. Other routes may refuse single objects.
                Err(e) if e.kind == Kind::Forbidden && route.is_list_of_users() => {
                    let refusal = self.admin.forbidden(e);
                    self.report_refusal(how, refusal);
                }
                _ => {}
            }
            return reply;
        }
    }

    /// A create call, with its permit: whatever the answer, it is not repeated.
    pub(super) async fn send_once<B: Serialize + Sync>(
        &self,
        route: &Route,
        permit: CreatePermit,
        body: &B,
    ) -> Result<Body, Error> {
        self.check()?;
        let turn = permit.redeem(&route.name(), self.create_timeout);
        let _turn = turn.inspect_err(|e| self.limiter.record_local_rejection(e))?;
        let refusals = self.admin.refusals();
        let token = self.admin.at(refusals);
        let reply = self.attempt(&self.fresh, route, token, Some(body)).await;
        if let Err(e) = &reply
            && e.kind == Kind::Unauthorized
        {
            self.report_refusal(Attempt::Usual, self.admin.refused(refusals, e));
        }
        reply
    }

    /// Whether the credential counts as accepted.
    pub(super) fn check(&self) -> Result<(), Error> {
        let checked = self.admin.check();
        checked.inspect_err(|e| self.limiter.record_local_rejection(e))
    }

    /// Reports what a call other than the probe found: the probe returns its own result.
    fn report_refusal(&self, how: Attempt, refusal: CredentialFailover) {
        if how != Attempt::Probe && matches!(refusal, CredentialFailover::Switched | CredentialFailover::New)
        {
            self.limiter.refused();
        }
    }

    /// One request and its answer.
    pub(super) async fn attempt<B: Serialize + Sync>(
        &self,
        http: &reqwest::Client,
        route: &Route,
        token: &Token,
        body: Option<&B>,
    ) -> Result<Body, Error> {
        let list = route.is_list().then(|| self.lists.lock());
        let _list = OptionFuture::from(list).await;
        let begun = Instant::now();
        let reply = self.exchange(http, route, token, body).await;
        self.limiter.called(route, &reply, begun.elapsed());
        reply
    }

    async fn exchange<B: Serialize + Sync>(
        &self,
        http: &reqwest::Client,
        route: &Route,
        token: &Token,
        body: Option<&B>,
    ) -> Result<Body, Error> {
        let name = route.name();
        let mut bearer = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| Error::config("the token cannot be sent in a header"))?;
        bearer.set_sensitive(true);
        let mut request = http
            .request(route.method.clone(), format!("{}{}", self.base, route.path))
            .header(reqwest::header::AUTHORIZATION, bearer)
            .header(reqwest::header::ACCEPT, "application/json")
            .header(reqwest::header::CONTENT_TYPE, "application/json");
        if let Some(body) = body {
            let bytes =
                serde_json::to_vec(body).map_err(|_| Error::config("the request has no JSON form"))?;
            request = request.body(bytes);
        }
        // The HTTP client itself has the deadline of a call. That of a list may have to wait until another large one is read,
        // so that its deadline is kept here.
        let mut patience = self.timeout.max(self.create_timeout);
        if route.is_list() {
            request = request.timeout(self.timeout.saturating_add(body::PATIENCE));
            patience = self.timeout;
        }
        // The HTTP client reports a connect timeout itself: it knows that it sent nothing.
        patience = patience.saturating_add(SLACK);
        let begun = Instant::now();
        let response = tokio::time::timeout(patience, request.send()).await;
        let response = response.map_err(|_| Error::late(&name, "no answer in time"))?;
        let response = response.map_err(|e| Error::transport(&name, &e))?;
        let status = response.status().as_u16();
        let reset = reset_after(response.headers());
        // Overlaps end by this clock: it is not taken from whatever answers on the way to the platform.
        if let Some(at) = time(response.headers()).filter(|_| status == 200) {
            self.limiter.note_time(at);
        }
        let left = patience.saturating_sub(begun.elapsed());
        let bytes = body::read(route, response, left).await?;
        if status == 200 {
            return Ok(bytes);
        }
        let mut tokens = self.admin.all();
        tokens.push(token);
        let error = Error::refused(&name, status, reset, &bytes, &tokens);
        if let Kind::RateLimited(Some(span)) = error.kind {
            self.limiter.pause(&error, span);
        }
        Err(error)
    }
}
