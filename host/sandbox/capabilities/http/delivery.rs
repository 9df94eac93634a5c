//! One admitted request on its way to its server: signed where that is granted, and connected.

use std::sync::Arc;

use http::request::Parts;
use http::{Request, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

use super::connect::{Connected, connect};
use super::denied;
use super::exchange::{Answer, Answered, exchange, on_the_wire};
use super::limits::HttpLimits;
use super::origin::Origin;
use super::payload::Payload;
use super::proxy::named;
use super::rules::{HttpRules, Refusal, Sign, Signing};
use super::taping::Taping;
use crate::recording::Tape;
use crate::sandbox::capabilities::network::{NoConnection, Outbound};

/// A request that may be sent.
pub(super) struct Delivery {
    pub(super) origin: Origin,
    /// Whether it may go to addresses that are not public.
    pub(super) private: bool,
    /// Its permit among the attempt's connections.
    pub(super) count: Arc<OwnedSemaphorePermit>,
    pub(super) limits: HttpLimits,
    pub(super) rules: Arc<HttpRules>,
    pub(super) outbound: Outbound,
    /// How its exchange is recorded, or answered from a recording.
    pub(super) taping: Option<Taping>,
}

impl Delivery {
    /// Sends a request, or answers it from a recording. Runs on an I/O thread, and so does its connection until it ends.
    pub(super) async fn send(mut self, request: Request<WasiBody>) -> Answer {
        match self.taping.take() {
            None => self.send_out(request).await,
            Some(Taping::Record(mut recording)) => {
                let request = recording.listen(request);
                recording.keep(self.send_out(request).await)
            }
            Some(Taping::Replay(replay)) => replay.answer(request, &self.limits, self.count).await,
            Some(Taping::Withhold(withholding)) => withholding.answer(request, &self.limits).await,
        }
    }

    async fn send_out(&self, request: Request<WasiBody>) -> Answer {
        let credentials = self.rules.credentials.as_ref();
        let sent = match credentials.and_then(|credentials| credentials.signer(&self.origin)) {
            Some(signer) => self.sign_and_send(request, &*signer).await,
            None => self.connect_and_send(request).await,
        };
        match sent {
            Ok(answer) => Ok(answer),
            Err(Refusal::Told(err)) => Err(err),
            Err(Refusal::Denied(denied)) => {
                self.outbound.late_denial.tell(denied);
                // Never answer: the guest must not act on an answer before the denial ends it.
                std::future::pending().await
            }
        }
    }

    /// Signs a request and sends it; once more where the server does not take the signature and another may do better.
    async fn sign_and_send(&self, request: Request<WasiBody>, signer: &dyn Sign) -> Result<Answered, Refusal> {
        let (head, body) = request.into_parts();
        let payload = Payload::of(body, &head, signer, &self.limits).await?;
        let Some(renewal) = signer.renewal() else {
            let request = self.signed(head, payload, signer).await?;
            return self.connect_and_send(request).await;
        };
        let again = payload.again();
        let request = self.signed(head.clone(), payload, signer).await?;
        let sent = request.headers().clone();
        let answer = self.connect_and_send(request).await?;
        let refused = answer.0.status() == StatusCode::UNAUTHORIZED && renewal.refused(&sent);
        let Some(payload) = again.filter(|_| refused) else {
            return Ok(answer);
        };
        drop(answer);
        let request = self.signed(head, payload, signer).await?;
        self.connect_and_send(request).await
    }

    async fn signed(&self, mut head: Parts, payload: Payload, signer: &dyn Sign) -> Result<Request<WasiBody>, Refusal> {
        let body = payload.bytes();
        let signing = Signing {
            head: &mut head,
            body: &body,
            rules: &self.rules,
        };
        let done = timeout(self.limits.first_byte_timeout, signer.sign(signing)).await;
        done.map_err(|_| Error::ConnectionReadTimeout)??;
        let body = payload.into_body(&mut head.headers);
        Ok(Request::from_parts(head, body))
    }

    async fn connect_and_send(&self, request: Request<WasiBody>) -> Result<Answered, Refusal> {
        if let Some(Tape::Record(recorder)) = &self.rules.tape {
            recorder.note(request.headers());
        }
        let connecting = connect(&self.origin, self.private, &self.rules, self.limits.connect_timeout);
        let Connected { stream, proxy } = connecting.await.map_err(|none| match none {
            NoConnection::Failed(why) => Refusal::Told(why.into()),
            NoConnection::NotPublic(ip, class) => Refusal::Denied(denied::address(&self.origin, ip, class)),
        })?;
        let request = match proxy {
            Some(proxy) => named(request, &proxy, &self.origin)?,
            None => on_the_wire(request)?,
        };
        Ok(exchange(
            stream,
            request,
            &self.limits,
            Arc::clone(&self.count),
            &self.outbound.io,
        )
        .await?)
    }
}
