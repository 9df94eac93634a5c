//! A guest's outgoing HTTP requests: to where its operator granted, counted, and with limits on each.
//!
//! They run on threads of their own, so that a guest which occupies the guest threads cannot keep a connection
//! from being served. Absent on purpose: proxies that the operator has not named, redirects followed by the host, connections
//! shared between attempts. Each would let a request end where no grant was checked.

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::connect::{Connected, NoConnection, connect};
use super::denied;
use super::exchange::{Answer, exchange, on_the_wire};
use super::grant::Gap;
use super::limits::{HttpLimits, MAX_CHUNK_BYTES};
use super::origin::Origin;
use super::proxy::named;
use super::rules::{HttpRules, Unfilled};
use super::steering::Steering;
use crate::sandbox::capabilities::denied::{Denied, LateDenial};
use crate::sandbox::run::deadline::Deadline;

/// Methods that no request may have, in any spelling: some servers care for none, and `TRACK` is IIS's `TRACE`.
const REFUSED_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

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
    io: Handle,
    deadline: Deadline,
    connections: Arc<Semaphore>,
    late_denial: LateDenial,
}

/// A request that may be sent.
struct Admitted {
    origin: Origin,
    /// Whether it may go to addresses that are not public.
    private: bool,
    /// Its permit among the attempt's connections.
    count: OwnedSemaphorePermit,
    limits: HttpLimits,
    rules: Arc<HttpRules>,
    late_denial: LateDenial,
    io: Handle,
}

/// Why a request is not sent.
enum Refusal {
    /// No grant covers it: the attempt ends.
    Denied(Denied),
    /// It fails for another reason, which the guest is told.
    Told(Error),
}

impl From<Error> for Refusal {
    fn from(err: Error) -> Self {
        Self::Told(err)
    }
}

impl Egress {
    pub(super) fn new(rules: &Arc<HttpRules>, io: &Handle, deadline: Deadline) -> Self {
        let way = rules.grant_any().then(|| Way {
            rules: Arc::clone(rules),
            io: io.clone(),
            deadline,
            connections: Arc::new(Semaphore::new(rules.limits.connections as usize)),
            late_denial: LateDenial::default(),
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

    /// The late denials of this attempt, which end it while its guest waits. None where no request can be sent.
    pub(super) fn late_denial(&self) -> Option<LateDenial> {
        self.way.as_ref().map(|way| way.late_denial.clone())
    }

    /// Checks a request against the grants and the counts, and fills in its headers.
    fn admit(&mut self, request: &mut Request<WasiBody>, asked: RequestOptions) -> Result<Admitted, Refusal> {
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
                .map(|private| (way, private)),
            None => Err(Gap::Origin),
        };
        let (way, private) =
            covered.map_err(|gap| Refusal::Denied(denied::gap(gap, &origin, path, method, steering)))?;
        let limits = way.limits(asked);
        if let Some(fill) = &way.rules.fill {
            fill.fill(request.headers_mut(), &origin)
                .map_err(|unfilled| match unfilled {
                    Unfilled::Denied(denied) => Refusal::Denied(denied),
                    Unfilled::TooMany => Error::HttpRequestHeaderSectionSize(None).into(),
                })?;
        }
        let count = Arc::clone(&way.connections).try_acquire_owned();
        let count = count.map_err(|_| Error::ConnectionLimitReached)?;
        if self.sent == limits.requests {
            return Err(Error::ConnectionLimitReached.into());
        }
        self.sent += 1;
        Ok(Admitted {
            origin,
            private,
            count,
            limits,
            rules: Arc::clone(&way.rules),
            late_denial: way.late_denial.clone(),
            io: way.io.clone(),
        })
    }
}

impl Way {
    /// Limits of one request: what the guest asks for, but no more than the plugin's limits and the attempt's time.
    fn limits(&self, asked: RequestOptions) -> HttpLimits {
        let limits = &self.rules.limits;
        let remaining = self.deadline.remaining();
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
        let admitted = match self.admit(&mut request, options.unwrap_or_default()) {
            Ok(admitted) => admitted,
            Err(Refusal::Told(err)) => return Box::new(async { Err(err) }),
            Err(Refusal::Denied(denied)) => {
                self.denied = Some(denied);
                return Box::new(async { Err(Error::HttpRequestDenied) });
            }
        };
        let io = admitted.io.clone();
        let sending = AbortOnDropHandle::new(io.spawn(send(request, admitted)));
        Box::new(async { sending.await.unwrap_or_else(|_| Err(Error::ConnectionTerminated)) })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_CHUNK_BYTES
    }
}

/// Sends an admitted request. Runs on an I/O thread, and so does its connection until it ends.
async fn send(request: Request<WasiBody>, admitted: Admitted) -> Answer {
    let Admitted {
        origin,
        private,
        count,
        limits,
        rules,
        late_denial,
        io,
    } = admitted;
    let Connected { stream, proxy } = match connect(&origin, private, &rules, limits.connect_timeout).await {
        Ok(connected) => connected,
        Err(NoConnection::Failed(err)) => return Err(err),
        Err(NoConnection::NotPublic(ip, class)) => {
            late_denial.tell(denied::address(&origin, ip, class));
            // Never answer: the guest must not act on an answer before the denial ends it.
            return std::future::pending().await;
        }
    };
    let request = match proxy {
        Some(proxy) => named(request, &proxy, &origin)?,
        None => on_the_wire(request)?,
    };
    exchange(stream, request, &limits, count, &io).await
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
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, Empty};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{Grants, Limits, Resolver};
    use crate::job::{Job, null};
    use crate::sandbox::capabilities::http::FillHeaders;
    use crate::sandbox::run::deadline::TimeLimit;

    /// Adds a header that the guest does not know.
    struct Filling;

    impl FillHeaders for Filling {
        fn fill(&self, headers: &mut HeaderMap, to: &Origin) -> Result<(), Unfilled> {
            if headers.contains_key("elsewhere") {
                return Err(Unfilled::Denied(Denied::new(format!("not for {to}; see"))));
            }
            headers.insert("authorization", HeaderValue::from_static("s3cret"));
            Ok(())
        }
    }

    fn egress(manifest: &str) -> Egress {
        let limits = Limits::default();
        let rules = HttpRules::new(
            &Grants::of(manifest),
            &limits,
            Resolver::default(),
            &crate::config::Egress::default(),
        );
        let rules = Arc::new(rules.expect("grants").filling(Arc::new(Filling)));
        let deadline = Deadline::start(TimeLimit::of(&Job::new("a", "default", null()), &limits));
        Egress::new(&rules, &Handle::current(), deadline)
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
