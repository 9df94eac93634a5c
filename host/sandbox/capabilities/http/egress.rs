//! A guest's outgoing HTTP requests: to where its operator granted, counted, and with limits on each.
//!
//! They run on threads of their own, so that a guest which occupies the guest threads cannot keep a connection
//! from being served. Absent on purpose: proxies that the operator has not named, redirects followed by the host, connections
//! shared between attempts. Each would let a request end where no grant was checked.

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Uri};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::delivery::Delivery;
use super::denied;
use super::exchange::Answer;
use super::grant::{Cover, Gap};
use super::limits::{HttpLimits, MAX_CHUNK_BYTES};
use super::origin::Origin;
use super::rules::{HttpRules, Refusal};
use super::steering::Steering;
use super::taping::Taping;
use crate::job::TraceContext;
use crate::sandbox::capabilities::denied::Denied;
use crate::sandbox::capabilities::network::Outbound;

/// Methods that no request may have, in any spelling: some servers care for none, and `TRACK` is IIS's `TRACE`.
const REFUSED_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The way out for one attempt's requests.
pub(super) struct Egress {
    /// None where nothing is granted: such a plugin's attempts pay nothing for HTTP.
    way: Option<Way>,
    sent: u32,
    /// Whether the guest has made a request, sent or not, that no grant can cover.
    drafted: bool,
    /// The first request that no grant covers. The call that wanted to send it ends the attempt with this denial.
    pub(super) denied: Option<Denied>,
}

/// What an attempt's requests share.
struct Way {
    rules: Arc<HttpRules>,
    outbound: Outbound,
    connections: Arc<Semaphore>,
}

impl Egress {
    /// `outbound` is needed only where something is granted.
    pub(super) fn new(rules: &Arc<HttpRules>, outbound: Option<&Outbound>) -> Self {
        let way = outbound.filter(|_| rules.grant_any()).map(|outbound| Way {
            rules: Arc::clone(rules),
            outbound: outbound.clone(),
            connections: Arc::new(Semaphore::new(rules.limits.connections as usize)),
        });
        Self {
            way,
            sent: 0,
            drafted: false,
            denied: None,
        }
    }

    /// Requests sent so far.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Connections that are open, or about to be.
    pub(super) fn open(&self) -> usize {
        self.way.as_ref().map_or(0, |way| {
            let all = way.rules.limits.connections as usize;
            all.saturating_sub(way.connections.available_permits())
        })
    }

    /// Counts a request that the guest makes, before it is sent. Where nothing is granted the first is allowed: denying
    /// it when it is sent tells the operator where it was to go. More would only take the host's memory.
    pub(super) fn draft(&mut self) -> Result<(), Denied> {
        if self.way.is_none() && std::mem::replace(&mut self.drafted, true) {
            return Err(denied::ungranted());
        }
        Ok(())
    }

    /// Checks a request against the grants and the counts, and fills in its headers.
    fn admit(&mut self, request: &mut Request<WasiBody>, asked: RequestOptions) -> Result<Delivery, Refusal> {
        let origin = origin(request.uri())?;
        // CONNECT would tunnel to a server that no grant was checked for. TRACE shows the handler the headers that the
        // host filled in.
        if REFUSED_METHODS
            .iter()
            .any(|method| request.method().as_str().eq_ignore_ascii_case(method))
        {
            return Err(Error::HttpRequestMethodInvalid.into());
        }
        // Send the normalised name that was checked, not the guest's spelling of it.
        let host = HeaderValue::try_from(origin.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(HOST, host);
        let (path, method) = (request.uri().path(), request.method().as_str());
        let steering = Steering::of(request.headers());
        let covered = match &self.way {
            Some(way) => way
                .rules
                .grants
                .cover(&origin, path, method, steering)
                .map(|covered| (way, covered)),
            None => Err(Gap::Origin),
        };
        let (way, Cover { private, trace }) =
            covered.map_err(|gap| Refusal::Denied(denied::gap(gap, &origin, path, method, steering)))?;
        let limits = way.limits(asked);
        if let Some(credentials) = &way.rules.credentials {
            credentials.fill(request.headers_mut(), &origin)?;
        }
        let count = Arc::clone(&way.connections).try_acquire_owned();
        let count = count.map_err(|_| Error::ConnectionLimitReached)?;
        if self.sent == limits.requests {
            return Err(Error::ConnectionLimitReached.into());
        }
        let taping = way.rules.tape.as_ref();
        let taping = taping.map(|tape| Taping::begin(tape, request, &origin, &way.rules));
        let taping = taping.transpose().map_err(Refusal::Denied)?;
        if let Some(of_job) = way.outbound.trace.as_deref().filter(|_| trace) {
            add_trace(request.headers_mut(), of_job);
        }
        self.sent += 1;
        Ok(Delivery {
            origin,
            private,
            count: Arc::new(count),
            limits,
            rules: Arc::clone(&way.rules),
            outbound: way.outbound.clone(),
            taping,
        })
    }
}

impl Way {
    /// Limits of one request: what the guest asks for, but no more than the plugin's limits and the attempt's time.
    fn limits(&self, asked: RequestOptions) -> HttpLimits {
        let limits = &self.rules.limits;
        let remaining = self.outbound.deadline.remaining();
        let within = |asked: Option<Duration>, limit: Duration| asked.unwrap_or(limit).min(limit).min(remaining);
        HttpLimits {
            connect_timeout: within(asked.connect_timeout, limits.connect_timeout),
            first_byte_timeout: within(asked.first_byte_timeout, limits.first_byte_timeout),
            between_bytes_timeout: within(asked.between_bytes_timeout, limits.between_bytes_timeout),
            ..limits.clone()
        }
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _guest_body: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let delivery = match self.admit(&mut request, options.unwrap_or_default()) {
            Ok(delivery) => delivery,
            Err(Refusal::Told(err)) => return Box::new(async { Err(err) }),
            Err(Refusal::Denied(denied)) => {
                self.denied = Some(denied);
                return Box::new(async { Err(Error::HttpRequestDenied) });
            }
        };
        let io = delivery.outbound.io.clone();
        let sending = AbortOnDropHandle::new(io.spawn(delivery.send(request)));
        Box::new(async { sending.await.unwrap_or_else(|_| Err(Error::ConnectionTerminated)) })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_CHUNK_BYTES
    }
}

/// Adds a trace to a request, unless its guest has one of its own.
fn add_trace(headers: &mut HeaderMap, trace: &TraceContext) {
    let (parent, state) = (HeaderValue::try_from(trace.parent()), trace.state.as_deref());
    if let (Ok(parent), false) = (parent, headers.contains_key(TRACEPARENT)) {
        headers.insert(TRACEPARENT, parent);
        headers.remove(TRACESTATE);
        // What the producer wrote may be none that a header can hold.
        if let Some(Ok(state)) = state.map(HeaderValue::try_from) {
            headers.insert(TRACESTATE, state);
        }
    }
}

/// Where a request goes. User names in it are refused: they make one host look like another.
fn origin(uri: &Uri) -> Result<Origin, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let port_is_wrong = authority.port().is_some() && authority.port_u16().is_none();
    if authority.as_str().contains('@') || port_is_wrong {
        return Err(Error::HttpRequestUriInvalid);
    }
    let https = uri.scheme() == Some(&Scheme::HTTPS);
    Origin::of_request(https, authority.host(), authority.port_u16()).ok_or(Error::HttpRequestUriInvalid)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    use super::*;
    use crate::config::{Grants, Limits, Resolver};
    use crate::job::{Job, null};
    use crate::sandbox::capabilities::denied::LateDenial;
    use crate::sandbox::capabilities::http::{Credentials, Sign};
    use crate::sandbox::capabilities::network::Network;
    use crate::sandbox::run::deadline::{Deadline, TimeLimit};

    /// Adds a header that the guest does not know.
    struct Filling;

    impl Credentials for Filling {
        fn fill(&self, headers: &mut HeaderMap, to: &Origin) -> Result<(), Refusal> {
            if headers.contains_key("elsewhere") {
                return Err(Refusal::Denied(Denied::new("http", format!("not for {to}; see"))));
            }
            headers.insert("authorization", HeaderValue::from_static("s3cret"));
            Ok(())
        }

        fn concealed(&self, text: Vec<u8>) -> Vec<u8> {
            text
        }

        fn signer(&self, _: &Origin) -> Option<Arc<dyn Sign>> {
            None
        }

        fn hold_bodies(&self) -> bool {
            false
        }
    }

    fn egress(manifest: &str) -> Egress {
        let limits = Limits::default();
        let network = Arc::new(Network::new(Resolver::default(), None));
        let rules = HttpRules::new(
            &Grants::of(manifest),
            &limits,
            &network,
            &crate::config::Egress::default(),
        );
        let rules = Arc::new(rules.expect("grants").with(Arc::new(Filling)));
        let deadline = Deadline::start(TimeLimit::of(&Job::new("a", "default", null()), &limits));
        let outbound = Outbound {
            io: Handle::current(),
            deadline,
            late_denial: LateDenial::default(),
            trace: None,
        };
        Egress::new(&rules, Some(&outbound))
    }

    async fn send(egress: &mut Egress, url: &str, header: &'static str) -> Answer {
        let body = WasiBody::new(Empty::new().map_err(|never| match never {}));
        let request = Request::get(url).header(header, "1").body(body).expect("a request");
        Box::into_pin(egress.send_request(request, None, Box::new(async { Ok(()) }))).await
    }

    #[tokio::test]
    async fn a_granted_request_goes_out_with_what_the_host_fills_in() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let mut egress = egress(&format!("[[grants.http]]\norigin = \"{origin}\"\nprivate = true"));
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let (response, _) = send(&mut egress, &format!("{origin}/a?b=c"), "x").await.unwrap();
        assert_eq!((response.status().as_u16(), egress.sent()), (204, 1));
        let request = served.await.unwrap();
        assert!(
            request.starts_with("GET /a?b=c HTTP/1.1\r\n") && request.contains("authorization: s3cret"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn what_is_not_granted_is_denied_with_the_line_that_would_grant_it() {
        let granted = "[[grants.http]]\norigin = \"http://a.example\"";
        for (manifest, url, header, why) in [
            (
                "",
                "http://b.example/",
                "x",
                "http request to http://b.example: not granted; add [[grants.http]] origin = \"http://b.example\" to a.toml",
            ),
            (
                granted,
                "http://a.example/",
                "elsewhere",
                "not for http://a.example; see a.toml",
            ),
        ] {
            let mut egress = egress(manifest);
            assert!(send(&mut egress, url, header).await.is_err());
            let denied = egress.denied.take().expect("a denial");
            assert_eq!((denied.told("a").as_str(), egress.sent()), (why, 0));
        }
    }
}
