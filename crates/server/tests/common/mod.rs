//! The whole server over a database of the test's own: two clinics, and a caller for each.

#![allow(clippy::unwrap_used, reason = "tests may")]
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub(crate) mod mailbox;
pub(crate) mod records;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use clinics::{LockoutPolicy, NewMember, NewPassword, Role, SessionPolicy, TokenIssuer as _};
use diesel_postgres::Database;
use diesel_postgres::clinics::PgSessions;
use diesel_postgres::stream::TailSignal;
use futures_util::future::LocalBoxFuture;
use http_api::ApiSettings;
use job_workers::WakeSignal;
use kernel::email::Email;
use kernel::metrics::NoMetrics;
use kernel::text::PersonName;
use kernel::{Clock, Origin, RequestId, SessionId, SystemContext, SystemPurpose, UserId};
use redis_cache::{CacheSettings, ResponseCache};
use security::passwords::{Argon2Hasher, Bounds, Cost};
use security::tokens::{JwtTokens, SigningKey};
use security::{SystemClock, SystemRandom};
use serde_json::{Map, Value, json};
use server::mail::MailSetup;
use server::wiring::{Foundation, Services, api};
use test_support::{Clinic, FixedClock, TestDatabase, TwoClinics, two_clinics};

/// What every member logs in with.
pub(crate) const PASSWORD: &str = "uma senha bem longa";
pub(crate) const LOGIN: &str = "/api/v1/auth/login";

type Call = Box<dyn Fn(TestRequest) -> LocalBoxFuture<'static, ServiceResponse>>;

/// The server with its database.
pub(crate) struct Stage {
    pub(crate) clinics: TwoClinics,
    pub(crate) foundation: Foundation,
    pub(crate) services: Services,
    pub(crate) base: TestDatabase,
    pub(crate) mailbox: Arc<mailbox::Mailbox>,
    signing_key: String,
    call: Call,
}

/// Another process beside the stage's own.
pub(crate) struct Process {
    foundation: Foundation,
    call: Call,
}

impl Process {
    /// Asks once what was revoked: the process knows it for a second.
    pub(crate) async fn follow_revocations(&self) {
        follow_revocations(&self.foundation).await;
    }
}

async fn follow_revocations(foundation: &Foundation) {
    let store = PgSessions::new(foundation.database.clone());
    let origin = Origin::internal(RequestId::from(uuid::Uuid::nil()));
    let sys = SystemContext::new(SystemPurpose::Login, origin);
    let list = foundation.tokens.revocations();
    list.follow(&store, &sys).await.unwrap();
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: actix_web::http::header::HeaderMap,
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// Without what differs from one request to the next.
    pub(crate) fn comparable(&self) -> (u16, Value) {
        let mut body = self.body.clone();
        for name in ["traceId", "instance"] {
            if body.get(name).is_some() {
                body[name] = Value::Null;
            }
        }
        (self.status, body)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// A request on its way.
pub(crate) struct Ask<'a> {
    stage: &'a Stage,
    request: TestRequest,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::over(None).await
    }

    /// By a clock that stands until the test lets it go on.
    pub(crate) async fn timed() -> (Self, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::default());
        (Self::made(None, clock.clone()).await, clock)
    }

    /// Over another database than the test's own.
    pub(crate) async fn over(database: Option<Database>) -> Self {
        Self::made(database, Arc::new(SystemClock)).await
    }

    async fn made(database: Option<Database>, clock: Arc<dyn Clock>) -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        let random = Arc::new(SystemRandom);
        let bounds = Bounds {
            running: 2,
            waiting: 8,
        };
        let signing_key = SigningKey::generate(&SystemRandom);
        let key = SigningKey::parse(&signing_key).unwrap();
        let mailbox = Arc::new(mailbox::Mailbox::default());
        let foundation = Foundation {
            mail: Some(MailSetup {
                mailer: mailbox.clone(),
                links: clinics::LinkBase::parse("https://app.example").unwrap(),
            }),
            clock: clock.clone(),
            random: random.clone(),
            keys: test_support::keys(),
            tokens: JwtTokens::new(
                key,
                Vec::new(),
                "acolhe",
                "acolhe-api",
                clock,
                random.clone(),
            ),
            hasher: Arc::new(Argon2Hasher::new(Cost::TRIFLING, bounds, random).unwrap()),
            session_policy: SessionPolicy::default(),
            lockout_policy: LockoutPolicy::default(),
            database: database.unwrap_or_else(|| base.database()),
            redis: None,
            // Nobody follows the stream here: everything is passed by.
            cache: ResponseCache::new(
                &CacheSettings::default(),
                test_support::keys(),
                Arc::new(NoMetrics),
                None,
                || (),
            ),
            tail: TailSignal::default(),
            jobs: WakeSignal::new(),
            metrics: Arc::new(kernel::NoMetrics),
        };
        let (services, call) = serve(&foundation).await;
        Self {
            clinics,
            foundation,
            services,
            base,
            mailbox,
            signing_key,
            call,
        }
    }

    /// The same database, by a server that sends no mail.
    pub(crate) async fn without_mail(self) -> Self {
        let foundation = Foundation {
            mail: None,
            ..self.foundation
        };
        let (services, call) = serve(&foundation).await;
        Self {
            foundation,
            services,
            call,
            ..self
        }
    }

    /// Asks once what was revoked: the process knows it for a second.
    pub(crate) async fn follow_revocations(&self) {
        follow_revocations(&self.foundation).await;
    }

    /// Another process over the same database, with the same keys and a memory of its own.
    pub(crate) async fn second_process(&self) -> Process {
        let key = SigningKey::parse(&self.signing_key).unwrap();
        let Foundation { clock, random, .. } = &self.foundation;
        let (clock, random) = (Arc::clone(clock), Arc::clone(random));
        let foundation = Foundation {
            tokens: JwtTokens::new(key, Vec::new(), "acolhe", "acolhe-api", clock, random),
            database: self.base.database(),
            ..self.foundation.clone()
        };
        let (_, call) = serve(&foundation).await;
        Process { foundation, call }
    }

    /// The same database, served with other keys.
    pub(crate) async fn with_keys(self, keys: Arc<dyn kernel::Keys>) -> Self {
        let foundation = Foundation {
            keys,
            ..self.foundation
        };
        let (services, call) = serve(&foundation).await;
        Self {
            foundation,
            services,
            call,
            ..self
        }
    }

    /// A request of nobody.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        Ask {
            stage: self,
            request: TestRequest::with_uri(path).method(method),
        }
    }

    /// A request of the clinic's owner, in it.
    pub(crate) fn owner(&self, clinic: &Clinic, method: &str, path: &str) -> Ask<'_> {
        self.ask(method, path)
            .token(&self.token(clinic.owner))
            .header("X-Clinic-Id", &clinic.id.to_string())
    }

    /// A token of an owner, in the session that [`two_clinics`] has made. A stage does not follow
    /// revocations unless a test has it do so: each request looks its session up.
    pub(crate) fn token(&self, user: UserId) -> String {
        let session = SessionId::from(uuid::Uuid::from(user));
        let issued = self.foundation.tokens.issue(user, session).unwrap();
        issued.token.expose().clone()
    }

    /// Makes a member of the clinic, whose password is [`PASSWORD`].
    pub(crate) async fn member(&self, clinic: &Clinic, email: &str, role: Role) {
        let new = NewMember {
            email: Email::parse(email).unwrap(),
            name: PersonName::parse("Ana Lima").unwrap(),
            password: NewPassword::parse(PASSWORD.to_owned()).unwrap(),
            role,
        };
        let origin = Origin::internal(RequestId::from(uuid::Uuid::nil()));
        let administration = self.foundation.administration();
        let made = administration.create_member(origin, clinic.id, new).await;
        made.unwrap();
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.ask("post", LOGIN).json(&body).answer().await
    }

    pub(crate) async fn token_of(&self, email: &str) -> String {
        let answer = self.log_in(email, PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["accessToken"].as_str().unwrap().to_owned()
    }

    /// A request of who has this token, in the clinic.
    pub(crate) fn acting(&self, token: &str, clinic: &Clinic, method: &str, path: &str) -> Ask<'_> {
        self.ask(method, path)
            .token(token)
            .header("X-Clinic-Id", &clinic.id.to_string())
    }

    /// Runs SQL behind row security's back.
    pub(crate) async fn execute(&self, sql: &str) {
        let superuser = self.base.superuser().await;
        superuser.batch_execute(sql).await.unwrap();
    }

    /// The first column of each row, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.base.superuser().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// The status and the problem's code, empty where it is none.
pub(crate) fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or(""))
}

async fn serve(foundation: &Foundation) -> (Services, Call) {
    let services = Services::new(foundation);
    let api = api(foundation, services.clone(), ApiSettings::default());
    let service = Rc::new(init_service(http_api::app(&api)).await);
    let call: Call = Box::new(move |request| {
        let service = Rc::clone(&service);
        Box::pin(async move { call_service(&*service, request.to_request()).await })
    });
    (services, call)
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.insert_header((name, value));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.request = self.request.set_json(body);
        self
    }

    /// A body as it is, said to be JSON.
    pub(crate) fn raw(mut self, body: &str) -> Self {
        self.request = self.request.set_payload(body.to_owned());
        self.header("Content-Type", "application/json")
    }

    /// From this address.
    pub(crate) fn from(mut self, address: &str) -> Self {
        let address: std::net::IpAddr = address.parse().unwrap();
        self.request = self.request.peer_addr((address, 4711).into());
        self
    }

    pub(crate) async fn answer(self) -> Answer {
        Self::answered((self.stage.call)(self.request).await).await
    }

    /// The answer of another process.
    pub(crate) async fn answer_of(self, process: &Process) -> Answer {
        Self::answered((process.call)(self.request).await).await
    }

    async fn answered(response: ServiceResponse) -> Answer {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = read_body(response).await;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status,
            headers,
            body,
            bytes: bytes.to_vec(),
        }
    }
}

/// One operation of the OpenAPI document.
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) parts: Map<String, Value>,
}

impl Operation {
    /// Whether it takes place in a clinic.
    pub(crate) fn is_tenant(&self) -> bool {
        let permission = self.parts["x-permission"].as_str().unwrap();
        permission != "public" && permission != "signed-in"
    }

    pub(crate) fn has_path_parameter(&self) -> bool {
        self.path.contains('{')
    }

    /// Its documented example body and the headers it asks for.
    pub(crate) fn prepare<'a>(&self, mut ask: Ask<'a>) -> Ask<'a> {
        let json = &self.parts.get("requestBody").map_or(Value::Null, |body| {
            body["content"]["application/json"].clone()
        });
        let example = json.get("example").cloned().or_else(|| {
            let examples = json.get("examples")?.as_object()?;
            Some(examples.values().next()?["value"].clone())
        });
        if let Some(example) = example {
            ask = ask.json(&example);
        }
        let parameters = self.parts.get("parameters").and_then(Value::as_array);
        if parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "If-Match")) {
            ask = ask.header("If-Match", "*");
        }
        ask
    }
}

/// Every operation there is.
pub(crate) fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&http_api::openapi_document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, parts) in item.as_object().unwrap() {
            found.push(Operation {
                method: method.clone(),
                path: path.clone(),
                parts: parts.as_object().unwrap().clone(),
            });
        }
    }
    found
}

/// The fields that a 400 names.
pub(crate) fn broken(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 400, "{}", answer.body);
    let params = answer.body["invalidParams"].as_array().unwrap();
    params
        .iter()
        .map(|param| param["name"].as_str().unwrap())
        .collect()
}
