//! The closed lists behind metric labels: a label comes from here or from the configuration.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::KnownNames;
use crate::kim::Account;

/// The label of a value that is on no list.
pub(super) const OTHER: &str = "other";

/// The label of a message without X-KIM-Dienstkennung.
pub(super) const NONE: &str = "none";

/// The `role` of a certificate that a client module shows, beside the roles of files.
pub(super) fn client_module_role(name: &str) -> String {
    format!("{CLIENT_MODULE}{name}")
}

/// Whether a role is one of those.
pub(super) fn is_client_module(role: &str) -> bool {
    role.starts_with(CLIENT_MODULE)
}

const CLIENT_MODULE: &str = "client-module/";

/// The `role` of a certificate that a workstation shows.
pub(super) fn workstation_role(name: &str) -> String {
    format!("workstation/{name}")
}

/// Services in use: gematik's list as it stands in its Thunderbird add-on, KBV's eAU annex and
/// gematik/api-erp. `*` as type: the application with any type that has no line of its own.
const SERVICES: &[&str] = &[
    "KIM-Mail;Default",
    "KIM-Mail;Abwesend",
    "KIM-Mail;*",
    "eAU;Lieferung",
    "eAU;Storno-Arzt",
    "eAU;Fehler-Kasse",
    "eAU;*",
    "Arztbrief;VHitG-Versand",
    "Arztbrief;Eingangsbestaetigung",
    "Arztbrief;*",
    "EBZ;ANW",
    "EBZ;FEH",
    "EBZ;KBR",
    "EBZ;KFO",
    "EBZ;KGL",
    "EBZ;MIT",
    "EBZ;PAR",
    "EBZ;QUI",
    "EBZ;ZER",
    "EBZ;*",
    "1ClickAbrechnung;Lieferung",
    "1ClickAbrechnung;Eingangsbestaetigung",
    "1ClickAbrechnung;Rueckmeldung",
    "1ClickAbrechnung;*",
    "eNachricht;Lieferung",
    "eNachricht;Eingangsbestaetigung",
    "eNachricht;*",
    "eEB;Anfrage",
    "eEB;Fehler",
    "eEB;*",
    "DALE-UV;Einsendung",
    "DALE-UV;*",
    "Selbsttest;Lieferung",
    "Selbsttest;*",
    "atf;Empfangsbestaetigung",
    "atf;*",
    "DiMus;*",
    "E-Rezept;*",
    "KZVAbr;*",
    "LDT-Auftrag;*",
    "LDT-Befund;*",
    "QSPB;*",
    "UTeilnahme;*",
    "abD-eHKS;*",
    "eDMP;*",
    "ePVS;*",
];

/// Everything out of the configuration that may become a label.
pub(super) struct Labels {
    accounts: HashSet<Account>,
    client_modules: BTreeSet<String>,
    services: Services,
}

impl Labels {
    pub(super) fn new(names: KnownNames) -> Self {
        Self {
            services: Services::new(&names.services),
            accounts: names.accounts.into_iter().collect(),
            client_modules: names.client_modules.into_iter().collect(),
        }
    }

    pub(super) fn has_account(&self, account: &Account) -> bool {
        self.accounts.contains(account)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    pub(super) fn has_client_module(&self, name: &str) -> bool {
        self.client_modules.contains(name)
    }

    pub(super) fn client_modules(&self) -> impl Iterator<Item = &str> {
        self.client_modules.iter().map(String::as_str)
    }

    /// `application;type` of a service that is known; the version would only split the count.
    pub(super) fn service(&self, value: Option<&str>) -> &str {
        value.map_or(NONE, |value| self.services.label(value))
    }
}

/// X-KIM-DecryptionResult; vendors add codes of their own.
pub(super) fn decryption(value: &str) -> &'static str {
    code(value, &["00", "01", "02", "03"])
}

/// X-KIM-IntegrityCheckResult; vendors add codes of their own.
pub(super) fn integrity(value: &str) -> &'static str {
    code(value, &["01", "02", "03", "04", "05", "06", "07", "08", "09"])
}

fn code(value: &str, known: &[&'static str]) -> &'static str {
    known.iter().find(|code| **code == value.trim()).unwrap_or(&OTHER)
}

/// By lower-case `application;type`.
struct Services(HashMap<String, Arc<str>>);

impl Services {
    fn new(patterns: &[String]) -> Self {
        let mut labels = HashMap::new();
        let known = SERVICES.iter().copied().chain(patterns.iter().map(String::as_str));
        for (application, kind) in known.filter_map(split) {
            // A pattern like `e*` or `eAU;Lie*` is no name of a service.
            if !application.contains(['*', '?']) && (kind == "*" || !kind.contains(['*', '?'])) {
                let pair = format!("{application};{kind}");
                labels.entry(pair.to_lowercase()).or_insert_with(|| pair.into());
            }
        }
        Self(labels)
    }

    fn label(&self, value: &str) -> &str {
        // Longer than any name in use: not worth a lower-case copy.
        let Some((application, kind)) = split(value).filter(|_| value.len() <= 256) else {
            return OTHER;
        };
        let exact = self.0.get(&format!("{application};{kind}").to_lowercase());
        let label = exact.or_else(|| self.0.get(&format!("{application};*").to_lowercase()));
        label.map_or(OTHER, |label| label)
    }
}

/// Application and type; the type may be all there is after the first `;`.
fn split(service: &str) -> Option<(&str, &str)> {
    let mut parts = service.split(';').map(str::trim);
    Some((parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_labelled_by_application_and_type_if_it_is_known() {
        let configured = ["Praxis-X;Neu;V1", "Labor;*", "z*;*", "eAU;Lie*"].map(String::from);
        let labels =
            Labels::new(KnownNames { services: configured.into(), ..KnownNames::default() });
        let table = [
            (None, "none"),
            (Some("KIM-Mail;Default;V1.0"), "KIM-Mail;Default"),
            (Some(" kim-mail ; default ; V1.5 "), "KIM-Mail;Default"),
            (Some("eAU;Lieferung;V1.2"), "eAU;Lieferung"),
            (Some("eAU;Lieferungen;V1.2"), "eAU;*"),
            (Some("EBZ;PAR;2.0.0"), "EBZ;PAR"),
            (Some("atf;Empfangsbestaetigung"), "atf;Empfangsbestaetigung"),
            (Some("Praxis-X;Neu;V9"), "Praxis-X;Neu"),
            (Some("Praxis-X;Alt;V9"), "other"),
            (Some("Labor;anything"), "Labor;*"),
            (Some("zzz;*"), "other"),
            (Some(""), "other"),
            (Some("KIM-Mail"), "other"),
            (Some(";;;"), "other"),
            (Some("*;*"), "other"),
            (Some("\u{1b}[31m;\"} 1\n"), "other"),
        ];
        for (value, label) in table {
            assert_eq!(labels.service(value), label, "{value:?}");
        }
    }

    #[test]
    fn a_result_code_that_nobody_defined_is_other() {
        assert_eq!(decryption(" 03"), "03");
        assert_eq!(integrity("09"), "09");
        assert_eq!(decryption("01\n"), "01");
        for odd in ["", "X01", "0", "000", "10", "01, 02"] {
            assert_eq!(decryption(odd), OTHER, "{odd:?}");
        }
        assert_eq!(decryption("04"), OTHER);
        assert_eq!(integrity("00"), OTHER);
    }
}
