//! What the operator wrote: every key of the configuration, with its bounds and its default.
//!
//! Nothing here is resolved or compared: `build` turns it into what the program needs, and `lint`
//! judges it. Lists hold text, so that each entry can be judged by itself. A key without a default
//! is an `Option`, so that one missing key does not hide the next problem.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Address, AdminAddress, Share, Size, Time, some_word, word};
use crate::policy::{Authors, LOGIN_SERVERS, Mode, Otherwise};
use crate::words::{Language, Protocol, Security};

/// Tables with names that the operator chose.
pub type Named<T> = BTreeMap<String, T>;

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The gateway itself.
    pub gateway: Gateway,
    /// Where workstations connect; 1–64.
    pub listeners: Named<Listener>,
    /// kimgate's certificate, and whether workstations have to show theirs.
    pub tls: Tls,
    /// The KIM client modules; 1–64.
    pub client_modules: Named<ClientModule>,
    /// The PCs.
    pub workstations: Named<Workstation>,
    /// The persons.
    pub users: Named<User>,
    /// "Nutzergruppen".
    pub groups: Named<Members>,
    /// "Abteilungen".
    pub departments: Named<Members>,
    /// The KIM mail addresses.
    pub accounts: Named<Account>,
    /// Whether refusals are carried out, and what happens where there is no rule.
    pub policy: Policy,
    /// One card context at two workstations.
    pub contexts: Contexts,
    /// One mailbox for two POP3 sessions.
    pub mailboxes: Mailboxes,
    /// Protection against lost mail and locked accounts.
    pub protection: Protection,
    /// Bounds on connections, lines and time.
    pub limits: Limits,
    /// Headers that kimgate adds.
    pub headers: Headers,
    /// Receipts that kimgate asks for.
    pub receipts: Receipts,
    /// Metrics and status pages.
    pub admin: Admin,
    /// The audit log.
    pub audit: Audit,
    /// The log for people.
    pub log: Log,
}

/// `[gateway]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// A host name, in greetings, in EHLO and in the certificate that kimgate makes; at most 253
    /// characters; default: the machine's name.
    pub name: Option<String>,
    /// `de` or `en`: the language of texts that the user of a mail client may see; default `de`.
    #[serde(deserialize_with = "word")]
    pub language: Language,
    /// Ends every text that the user of a mail client may see, as in `IT: 0371 1234`; at most 40
    /// characters, umlauts as two; default none.
    pub contact: String,
    /// Folder for what must survive a restart, never mail; relative to the file's folder; default
    /// `state`.
    pub state_dir: PathBuf,
    /// Whether kimgate may listen on an address that the internet can reach; default false.
    pub public: bool,
    /// Whether `kimgate run` gives up core dumps, starting programs, and all files but those of its
    /// configuration, `state_dir` and the audit; on Linux; default true.
    pub sandbox: bool,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            name: None,
            language: Language::De,
            contact: String::new(),
            state_dir: "state".into(),
            public: false,
            sandbox: true,
        }
    }
}

/// `[listeners.NAME]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// `pop3` or `smtp`; must be written.
    #[serde(deserialize_with = "some_word")]
    pub protocol: Option<Protocol>,
    /// IP address and port; port 0 takes a free one; must be written.
    pub address: Option<Address>,
    /// `implicit`, `starttls`, or `none` on loopback; default `implicit`.
    #[serde(deserialize_with = "word")]
    pub tls: Security,
    /// Networks whose connections start with a PROXY v1 or v2 header; default none.
    pub proxy_protocol_from: Vec<String>,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            protocol: None,
            address: None,
            tls: Security::Implicit,
            proxy_protocol_from: Vec::new(),
        }
    }
}

/// `[tls]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the chain, leaf first; default: a self-signed one is made in `state_dir`.
    pub certificate: Option<PathBuf>,
    /// PEM file with the leaf's key; together with `certificate`.
    pub private_key: Option<PathBuf>,
    /// `"1.2"` or `"1.3"`; default `"1.2"`.
    #[serde(deserialize_with = "word")]
    pub min_version: MinVersion,
    /// `off`, `optional` or `required`; default `off`.
    #[serde(deserialize_with = "word")]
    pub client_certificates: ClientCertificates,
    /// PEM file with the authority that signs them; needed unless they are `off`.
    pub client_ca: Option<PathBuf>,
    /// PEM or DER files with that authority's revocation lists; as soon as there is one, a
    /// certificate whose issuer has no list is refused; default none.
    pub client_crl: Vec<PathBuf>,
}

/// `tls.min_version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinVersion {
    /// TLS 1.2 with forward secrecy, or TLS 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `tls.client_certificates`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for; a workstation that shows none is found by its address.
    Optional,
    /// Asked for; a workstation that shows none is refused.
    Required,
}

/// `[client_modules.NAME]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientModule {
    /// Name or IP address of the machine that the client module runs on; must be written.
    pub host: Option<String>,
    /// TCP port for POP3; 1–65535; default 995.
    pub pop3_port: u16,
    /// TCP port for SMTP; 1–65535; default 465.
    pub smtp_port: u16,
    /// `implicit`, `starttls`, or `none` on loopback; default `implicit`.
    #[serde(deserialize_with = "word")]
    pub tls: Security,
    /// PEM file with the chain that kimgate shows where the client module asks for one; default
    /// none.
    pub client_certificate: Option<PathBuf>,
    /// PEM file with its key; together with `client_certificate`.
    pub client_key: Option<PathBuf>,
    /// Name of the client module that is dialled when this one does not answer; no login has been
    /// sent by then; default none.
    pub standby: Option<String>,
    /// How its certificate is judged.
    pub trust: Trust,
}

impl Default for ClientModule {
    fn default() -> Self {
        Self {
            host: None,
            pop3_port: 995,
            smtp_port: 465,
            tls: Security::Implicit,
            client_certificate: None,
            client_key: None,
            standby: None,
            trust: Trust::default(),
        }
    }
}

/// `[client_modules.NAME.trust]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// PEM files with the authorities that are trusted; default none.
    pub ca: Vec<String>,
    /// Whether the authorities that the system trusts are trusted as well; default false.
    pub system_roots: bool,
    /// `sha256:` and 64 hexadecimal digits: fingerprints of certificates that are accepted, such as the
    /// old and the new one; default none.
    pub pins: Vec<String>,
    /// Any of `self-signed`, `name-mismatch`; default none.
    pub ignore: Vec<String>,
}

/// `[workstations.NAME]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workstation {
    /// IP addresses or networks; the most specific one of all workstations wins; default none.
    pub addresses: Vec<String>,
    /// Common names or DNS names of its client certificate, compared without ASCII case; a certificate
    /// decides before an address does; default none.
    pub certificates: Vec<String>,
    /// WorkplaceIds that it may put into a login; default: any.
    pub workplaces: Vec<String>,
    /// Exact login strings that it may use; default: any.
    pub logins: Vec<String>,
}

/// `[users.NAME]`: found by any of these.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// Names in a client certificate; default none.
    pub certificates: Vec<String>,
    /// Workstations that are this person's; default none.
    pub workstations: Vec<String>,
    /// UserIds that a login may claim; default none.
    pub user_ids: Vec<String>,
}

/// `[groups.NAME]` and `[departments.NAME]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Members {
    /// `user:`, `workstation:`, `group:`, `department:`, `mandant:` and a name each; default none.
    pub members: Vec<String>,
}

/// `[accounts."ADDRESS"]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// Name of the client module that serves it; default: the only one that is nobody's standby, else
    /// `main`.
    pub client_module: Option<String>,
    /// Whether it is no longer in use and every login is refused ("Nicht mehr zur Auswahl
    /// anbieten"); default false.
    pub retired: bool,
    /// Subjects that may use it; default: every known workstation.
    pub allow: Vec<String>,
    /// Subjects that may not; beats `allow`; default none.
    pub deny: Vec<String>,
    /// Narrower rules for fetching.
    pub receive: Access,
    /// Narrower rules for deleting.
    pub delete: Access,
    /// Narrower rules for sending.
    pub send: Send,
}

/// `[accounts."ADDRESS".receive]` and `.delete`; the account's own rules hold as well.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Subjects that may; default: all that the account admits.
    pub allow: Vec<String>,
    /// Subjects that may not; default none.
    pub deny: Vec<String>,
}

/// `[accounts."ADDRESS".send]`; the account's own rules hold as well.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Send {
    /// Subjects that may; default: all that the account admits.
    pub allow: Vec<String>,
    /// Subjects that may not; default none.
    pub deny: Vec<String>,
    /// Patterns for X-KIM-Dienstkennung, with `*` and `?`; default: any, with or without the
    /// header.
    pub services: Vec<String>,
    /// Subjects that alone may send the services that a pattern matches, by pattern; a service has
    /// to pass every pattern that matches it; default: no such rule.
    pub only: Named<Vec<String>>,
    /// Patterns for whole recipient addresses, with `*` and `?`; default: any.
    pub recipients: Vec<String>,
    /// Patterns for further addresses in MAIL FROM, with `*` and `?`; `<>` is the empty sender;
    /// default: the account alone.
    pub senders: Vec<String>,
    /// `any`, or `account`: From and Sender of a message may name the account and `senders` only;
    /// default `any`.
    #[serde(deserialize_with = "word")]
    pub from: Authors,
}

/// `[policy]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// `enforce`, or `observe`: report refusals and let the session pass; default `enforce`.
    #[serde(deserialize_with = "word")]
    pub mode: Mode,
    /// `deny` or `allow`; default `deny`.
    #[serde(deserialize_with = "word")]
    pub unknown_workstations: Otherwise,
    /// `deny` or `allow`; default `deny`.
    #[serde(deserialize_with = "word")]
    pub unknown_accounts: Otherwise,
    /// `allow` or `deny`, for logins that are only an address; default `allow`.
    #[serde(deserialize_with = "word")]
    pub logins_without_context: Otherwise,
    /// Patterns for the host that a login's host:port may name, with `*` and `?`; default
    /// `*.telematik` and `*.telematik-test`.
    pub login_servers: Vec<String>,
    /// Where a refused SMTP login is told so: `at-login`, or `at-mail` for Thunderbird, which takes
    /// every refusal of AUTH for a wrong password; default `at-login`.
    #[serde(deserialize_with = "word")]
    pub refuse_sending: RefuseSending,
}

/// Where a refused SMTP login is told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefuseSending {
    /// In the answer to AUTH.
    AtLogin,
    /// AUTH is answered 235, and MAIL with the refusal.
    AtMail,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            unknown_workstations: Otherwise::Deny,
            unknown_accounts: Otherwise::Deny,
            logins_without_context: Otherwise::Allow,
            login_servers: LOGIN_SERVERS.map(str::to_owned).to_vec(),
            refuse_sending: RefuseSending::AtLogin,
        }
    }
}

/// `[contexts]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contexts {
    /// `off`, `observe` or `enforce`; default `observe`.
    #[serde(deserialize_with = "word")]
    pub mode: ContextMode,
    /// How long a second workstation waits for a context; 0s–10m; default 10s.
    pub wait: Time,
    /// How long a context stays taken after its last accepted session; 0s–10m; default 5s.
    pub linger: Time,
}

impl Default for Contexts {
    fn default() -> Self {
        Self { mode: ContextMode::Observe, wait: Time::seconds(10), linger: Time::seconds(5) }
    }
}

/// `contexts.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextMode {
    /// Contexts are not counted.
    Off,
    /// Counted and reported.
    Observe,
    /// The second workstation waits, then is refused.
    Enforce,
}

/// `[mailboxes]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mailboxes {
    /// How long a second POP3 session waits for the first; 0s (off)–10m; default 20s.
    pub wait: Time,
}

impl Default for Mailboxes {
    fn default() -> Self {
        Self { wait: Time::seconds(20) }
    }
}

/// `[protection]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protection {
    /// DELE of a message that came undecrypted is refused; default true.
    pub hold_delete_on_failed_decryption: bool,
    /// For how long, over sessions, workstations and restarts; 0s (in its session only)–365d; default 30d.
    pub hold_undecrypted: Time,
    /// How many refusals by the client module pause a login; 0 (never) to 100; default 3.
    pub login_failures: u32,
    /// How long a login is paused; 1s–1d; default 5m.
    pub login_pause: Time,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            hold_delete_on_failed_decryption: true,
            hold_undecrypted: Time::seconds(30 * 86_400),
            login_failures: 3,
            login_pause: Time::seconds(300),
        }
    }
}

/// `[limits]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most connections of all workstations together; 1–100000; default 2000.
    pub connections: u32,
    /// The most connections of one workstation; 1–100000; default 50.
    pub connections_per_workstation: u32,
    /// The most connections of all sources in no rule together, where they are denied; a percentage
    /// of `connections` or a number; default 10%.
    pub unknown_connections: Share,
    /// Connections and refused logins a second from one source, with a burst of ten times as many; 0 (no
    /// limit) to 10000; default 20.
    pub connection_rate: u32,
    /// The longest line with a login; 1KiB–1MiB; default 16KiB.
    pub login_line: Size,
    /// The longest other command line; 512B–1MiB; default 4KiB.
    pub command_line: Size,
    /// The longest header block of a message; 4KiB–16MiB; default 256KiB.
    pub header: Size,
    /// The largest message that may be sent; 0: what the client module announces; default 0.
    pub message: Size,
    /// The longest time from connect to login, and again from login to its answer; 5s–1h; default
    /// 3m. What a client module does before its login has ten seconds at most.
    pub login_timeout: Time,
    /// The longest time without a command; 30s–1d; default 15m.
    pub idle_timeout: Time,
    /// The longest time without a byte in either direction during a message; 30s–1d; default 15m.
    pub transfer_stall_timeout: Time,
    /// How long messages under way may take when kimgate stops; 0s–1h; default 60s.
    pub drain: Time,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2000,
            connections_per_workstation: 50,
            unknown_connections: Share::Percent(10),
            connection_rate: 20,
            login_line: Size(16 << 10),
            command_line: Size(4 << 10),
            header: Size(256 << 10),
            message: Size(0),
            login_timeout: Time::seconds(180),
            idle_timeout: Time::seconds(900),
            transfer_stall_timeout: Time::seconds(900),
            drain: Time::seconds(60),
        }
    }
}

/// `[headers]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// `off`, or `add`: X-KIM-Middleware on sent messages; default `off`.
    #[serde(deserialize_with = "word")]
    pub middleware: Middleware,
}

impl Default for Headers {
    fn default() -> Self {
        Self { middleware: Middleware::Off }
    }
}

/// `headers.middleware`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Middleware {
    /// Messages stay as they are.
    Off,
    /// Product and version are added.
    Add,
}

/// `[receipts]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receipts {
    /// `as-sent`, or `always`: NOTIFY where the sender asked for none; default `as-sent`.
    #[serde(deserialize_with = "word")]
    pub delivery: Receipt,
    /// `as-sent`, or `always`: Disposition-Notification-To where there is none; default `as-sent`.
    #[serde(deserialize_with = "word")]
    pub read: Receipt,
}

impl Default for Receipts {
    fn default() -> Self {
        Self { delivery: Receipt::AsSent, read: Receipt::AsSent }
    }
}

/// `receipts.delivery` and `receipts.read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receipt {
    /// Only where the sender asked.
    AsSent,
    /// Also where the sender did not ask.
    Always,
}

/// `[admin]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port, or `off`; default `127.0.0.1:9465`.
    pub address: AdminAddress,
    /// IP addresses or networks that may open the pages; default loopback.
    pub allow: Vec<String>,
    /// Further host names by which the pages may be asked for, as through a reverse proxy; IP
    /// addresses, `localhost` and `gateway.name` always work; default none.
    pub hosts: Vec<String>,
    /// Whether workstations may ask for their own accounts' autoconfig file, and nothing else;
    /// default false.
    pub autoconfig: bool,
}

impl Default for Admin {
    fn default() -> Self {
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 9465));
        Self {
            address: AdminAddress(Some(Address(loopback))),
            allow: vec!["127.0.0.1/32".into(), "::1/128".into()],
            hosts: Vec::new(),
            autoconfig: false,
        }
    }
}

/// `[audit]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// File with one JSON line per event, rotated daily and by size; default: standard output.
    pub file: Option<PathBuf>,
    /// How long rotated files are kept; 1d–3650d; default 30d.
    pub keep: Time,
    /// How large the file and its rotated files may become together; the oldest are deleted first.
    /// 64KiB–1024GiB; default 2GiB.
    pub max_size: Size,
    /// Whether addresses are written as keyed hashes; default false.
    pub pseudonymize: bool,
    /// Whether each line carries the hash of the line before; needs `file`; default false.
    pub chain: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            file: None,
            keep: Time::seconds(30 * 86_400),
            max_size: Size(2 << 30),
            pseudonymize: false,
            chain: false,
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`; default `text`.
    #[serde(deserialize_with = "word")]
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`; default `info`.
    #[serde(deserialize_with = "word")]
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs action.
    Error,
    /// Also what should be looked at.
    Warn,
    /// Also logins and messages.
    Info,
    /// Also connections.
    Debug,
    /// Everything.
    Trace,
}

/// Where every key belongs: its tables, with `NAME` for the names that the operator chooses.
pub(super) fn every_key() -> Vec<(Vec<String>, String)> {
    fn one<T: Default>() -> Named<T> {
        Named::from([(String::from("NAME"), T::default())])
    }
    fn walk(value: &serde_json::Value, path: &[String], keys: &mut Vec<(Vec<String>, String)>) {
        let Some(table) = value.as_object() else { return };
        for (name, inner) in table {
            keys.push((path.to_vec(), name.clone()));
            walk(inner, &[path, std::slice::from_ref(name)].concat(), keys);
        }
    }
    let specimen = Settings {
        listeners: one(),
        client_modules: one(),
        workstations: one(),
        users: one(),
        groups: one(),
        departments: one(),
        accounts: one(),
        ..Settings::default()
    };
    let mut keys = Vec::new();
    // Settings hold text, numbers and maps by text alone, which always become JSON.
    walk(&serde_json::to_value(specimen).unwrap_or_default(), &[], &mut keys);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_walking() {
        let keys = every_key();
        for (tables, key) in [
            (vec![], "gateway"),
            (vec!["gateway"], "name"),
            (vec!["client_modules", "NAME", "trust"], "pins"),
            (vec!["accounts", "NAME", "send"], "services"),
            (vec!["accounts", "NAME", "send"], "only"),
        ] {
            assert!(keys.iter().any(|(t, k)| *t == tables && k == key), "{tables:?} {key}");
        }
    }
}
