//! What the operator wrote: every key of the configuration, with its bounds and its default.
//!
//! Nothing here is resolved or compared; `lint` judges it and `build` makes of it what the program
//! needs. Lists hold text, so that each entry can be judged by itself. What must be written and has
//! no default is an `Option`, so that one missing key does not hide the next problem.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Address, AdminAddress, Size, Time, some_word, word};
use crate::policy::{Mode, Otherwise};
use crate::words::{Language, Protocol, Security};

/// Tables with names that the operator chose.
pub type Named<T> = BTreeMap<String, T>;

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The gateway itself.
    pub gateway: Gateway,
    /// Where workstations connect; any number, at least one.
    pub listeners: Named<Listener>,
    /// What workstations see of kimgate's certificate.
    pub tls: Tls,
    /// The KIM client modules; at least one.
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
    /// What holds where no rule speaks.
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
    /// In greetings, in EHLO and in the certificate that kimgate makes; default: the host name.
    pub name: Option<String>,
    /// `de` or `en`: texts that a mail client's user may see; default `de`.
    #[serde(deserialize_with = "word")]
    pub language: Language,
    /// Folder for what must survive a restart, never mail; default `state`.
    pub state_dir: PathBuf,
    /// Addresses that the internet reaches may be listened on; default false.
    pub public: bool,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { name: None, language: Language::De, state_dir: "state".into(), public: false }
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
    /// PEM or DER files with that authority's revocation lists; where there is one, certificates
    /// that none speaks about are refused; default none.
    pub client_crl: Vec<PathBuf>,
}

/// `tls.min_version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinVersion {
    /// With forward secrecy.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// Nothing older.
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
    /// Asked for; who has none is found by address.
    Optional,
    /// No session without one.
    Required,
}

/// `[client_modules.NAME]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientModule {
    /// Name or IP address of the machine that the client module runs on; must be written.
    pub host: Option<String>,
    /// 1–65535; default 995.
    pub pop3_port: u16,
    /// 1–65535; default 465.
    pub smtp_port: u16,
    /// `implicit`, `starttls`, or `none` on loopback; default `implicit`.
    #[serde(deserialize_with = "word")]
    pub tls: Security,
    /// PEM file that is shown where the client module asks for a certificate; default none.
    pub client_certificate: Option<PathBuf>,
    /// PEM file with its key; together with `client_certificate`.
    pub client_key: Option<PathBuf>,
    /// Dialled when this one does not answer, before any login is sent; default none.
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
    /// PEM files; these and nothing else are roots, unless `system_roots`; default none.
    pub ca: Vec<String>,
    /// The system's roots as well; default false.
    pub system_roots: bool,
    /// `sha256:<hex>` of certificates that are accepted; several: old and new; default none.
    pub pins: Vec<String>,
    /// Any of `self-signed`, `name-mismatch`; default none.
    pub ignore: Vec<String>,
}

/// `[workstations.NAME]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workstation {
    /// Addresses or networks; the most specific one of all workstations wins; default none.
    pub addresses: Vec<String>,
    /// Common names or DNS names of its client certificate, which beats the address; default none.
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
    /// Where its mail is; default: the only client module, else `main`, else the first by name.
    pub client_module: Option<String>,
    /// "Nicht mehr zur Auswahl anbieten"; default false.
    pub retired: bool,
    /// Who may use it; default: everyone known.
    pub allow: Vec<String>,
    /// Who may not; beats `allow`; default nobody.
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
    /// Who may; default: everyone whom the account admits.
    pub allow: Vec<String>,
    /// Who may not; default nobody.
    pub deny: Vec<String>,
}

/// `[accounts."ADDRESS".send]`; the account's own rules hold as well.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Send {
    /// Who may; default: everyone whom the account admits.
    pub allow: Vec<String>,
    /// Who may not; default nobody.
    pub deny: Vec<String>,
    /// Patterns of X-KIM-Dienstkennung; default: any, with or without the header.
    pub services: Vec<String>,
    /// Patterns of recipients' addresses; default: any.
    pub recipients: Vec<String>,
    /// Further addresses for MAIL FROM; `<>` for the empty sender; default: the account alone.
    pub senders: Vec<String>,
}

/// `[policy]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// `enforce`, or `observe`: decide and report, let pass; default `enforce`.
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
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            unknown_workstations: Otherwise::Deny,
            unknown_accounts: Otherwise::Deny,
            logins_without_context: Otherwise::Allow,
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
    /// How long a second workstation waits; 0s–10m; default 10s.
    pub wait: Time,
    /// How long a context stays taken after its last session; 0s–10m; default 5s.
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
    /// Not looked at.
    Off,
    /// Counted and reported.
    Observe,
    /// The second one waits, then is refused.
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
    /// DELE of a message that came undecrypted in this session is refused; default true.
    pub hold_delete_on_failed_decryption: bool,
    /// Refusals by the client module after which a login is paused; 0 (never)–100; default 3.
    pub login_failures: u32,
    /// How long; 1s–1d; default 5m.
    pub login_pause: Time,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            hold_delete_on_failed_decryption: true,
            login_failures: 3,
            login_pause: Time::seconds(300),
        }
    }
}

/// `[limits]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of all workstations; 1–100000; default 2000.
    pub connections: u32,
    /// Connections of one workstation; 1–100000; default 50.
    pub connections_per_workstation: u32,
    /// A line with a login; 1KiB–1MiB; default 16KiB.
    pub login_line: Size,
    /// Any other command line; 512B–1MiB; default 4KiB.
    pub command_line: Size,
    /// A message's headers; 4KiB–16MiB; default 256KiB.
    pub header: Size,
    /// A sent message; 0: what the client module announces; default 0.
    pub message: Size,
    /// From connect to login, and from login to its answer; 5s–1h; default 3m.
    pub login_timeout: Time,
    /// Without a command; 30s–1d; default 15m.
    pub idle_timeout: Time,
    /// Without a byte in either direction; 30s–1d; default 15m.
    pub transfer_stall_timeout: Time,
    /// For messages under way when kimgate stops; 0s–1h; default 60s.
    pub drain: Time,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2000,
            connections_per_workstation: 50,
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
    /// As the sender wanted it.
    AsSent,
    /// Asked for where the sender did not.
    Always,
}

/// `[admin]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port, or `off`; default `127.0.0.1:9465`.
    pub address: AdminAddress,
    /// Addresses or networks that may ask; default loopback.
    pub allow: Vec<String>,
    /// Workstations may ask for their own accounts' autoconfig file, and for nothing else; default
    /// false.
    pub autoconfig: bool,
}

impl Default for Admin {
    fn default() -> Self {
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 9465));
        Self {
            address: AdminAddress(Some(Address(loopback))),
            allow: vec!["127.0.0.1/32".into(), "::1/128".into()],
            autoconfig: false,
        }
    }
}

/// `[audit]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// One JSON line per event; rotated daily and by size; default: standard output.
    pub file: Option<PathBuf>,
    /// How long rotated files are kept; 1d–3650d; default 30d.
    pub keep: Time,
    /// Addresses as keyed hashes; default false.
    pub pseudonymize: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, keep: Time::seconds(30 * 86_400), pseudonymize: false }
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
    /// What somebody must do something about.
    Error,
    /// What somebody should look at.
    Warn,
    /// Logins and messages.
    Info,
    /// Connections as well.
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
        ] {
            assert!(keys.iter().any(|(t, k)| *t == tables && k == key), "{tables:?} {key}");
        }
    }
}
