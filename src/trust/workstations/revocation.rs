//! Revocation lists: which client certificates their authority has taken back.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::der_parser::asn1_rs::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::trust::printable::printable;
use crate::trust::problem::{MaterialError, MaterialProblem, MaterialWarning};
use crate::trust::{as_pem, material};

/// A list, and what is to know about it.
pub(super) struct RevocationList {
    pub(super) der: CertificateRevocationListDer<'static>,
    pub(super) path: PathBuf,
    /// The authority's distinguished name.
    pub(super) issuer: String,
    /// When a newer list should be there.
    pub(super) next_update: Option<OffsetDateTime>,
}

impl RevocationList {
    /// Every list of a file, which is PEM, or one list in DER as authorities publish it.
    pub(super) fn load(
        path: &Path,
        now: OffsetDateTime,
        warnings: &mut Vec<MaterialWarning>,
    ) -> Result<Vec<Self>, MaterialError> {
        let problem = |problem: MaterialProblem| problem.of(path.to_owned());
        let bytes = as_pem(material::read(path).map_err(problem)?);
        let found: Vec<CertificateRevocationListDer<'static>> = match bytes.first() {
            Some(0x30) => vec![CertificateRevocationListDer::from(bytes.to_vec())],
            _ => CertificateRevocationListDer::pem_slice_iter(&bytes)
                .collect::<Result<_, _>>()
                .map_err(|_| problem(MaterialProblem::BrokenPem))?,
        };
        if found.is_empty() {
            return Err(problem(MaterialProblem::NoRevocationList));
        }
        let lists: Vec<Self> = found
            .into_iter()
            .map(|der| Self::read(path, der))
            .collect::<Option<_>>()
            .ok_or_else(|| problem(MaterialProblem::NoRevocationList))?;
        for list in &lists {
            if let Some(due) = list.next_update
                && due < now
            {
                let problem = format!(
                    "the revocation list of {} should have been replaced on {}: what it revokes \
                     stays revoked, what was revoked since is not known here",
                    list.issuer,
                    due.date()
                );
                let remedy = "fetch the new list".into();
                warnings.push(MaterialWarning { path: path.to_owned(), problem, remedy });
            }
        }
        Ok(lists)
    }

    fn read(path: &Path, der: CertificateRevocationListDer<'static>) -> Option<Self> {
        let (rest, parsed) = CertificateRevocationList::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let issuer = printable(&parsed.issuer().to_string());
        let next_update = parsed.next_update().map(|time| time.to_datetime());
        Some(Self { path: path.to_owned(), issuer, next_update, der: der.clone() })
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::trust::Authority;

    #[test]
    fn a_list_that_is_overdue_is_warned_of_and_still_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crl");
        std::fs::write(&path, Authority::new("Praxis").unwrap().revoke(None, &[]).unwrap())
            .unwrap();
        for (days, count) in [(0, 0), (364, 0), (366, 1)] {
            let mut warnings = vec![];
            let now = OffsetDateTime::now_utc() + Duration::days(days);
            let lists = RevocationList::load(&path, now, &mut warnings).unwrap();
            assert_eq!((lists.len(), warnings.len()), (1, count), "{days}");
            assert_eq!(lists[0].issuer, "CN=Praxis");
        }
    }
}
