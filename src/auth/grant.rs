//! The grounds on which a caller was let in, to be confirmed where the caller acts (`credentials/confirm.rs`).
//!
//! Rule: a grant holds while the user is active and has to do nothing first, the session or the personal token lives, the
//! password is the one that was checked, the credential has not expired, and its scopes include the one that the route
//! requires. Threat: a request that outlives the right to make it.

use crate::error::Error;
use crate::model::{CredentialId, Holder, PasswordHash, Principal, Scope, Status, Step, Timestamp, TokenHash, UserId};

/// The grounds on which a caller was authorized, without the credential: enough to check again later.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    user: UserId,
    credential: CredentialId,
    /// The hash of the password hash that the password matched.
    password: Option<TokenHash>,
    expires_at: Option<Timestamp>,
    scope: Option<Scope>,
    completes: Option<Step>,
}

impl Grant {
    /// The grant of an authorized caller, and of the password hash that a password matched.
    pub(super) fn new(
        principal: &Principal,
        password: Option<&PasswordHash>,
        scope: Option<Scope>,
        completes: Option<Step>,
    ) -> Self {
        Self {
            user: principal.user.id,
            credential: principal.credential_id(),
            password: password.map(|hash| TokenHash::of(hash.0.as_bytes())),
            expires_at: principal.expires_at,
            scope,
            completes,
        }
    }

    /// The credential that was presented.
    pub(super) fn credential(&self) -> CredentialId {
        self.credential
    }

    /// Checks the grant against what the database says now.
    pub(super) fn check(&self, holder: Option<Holder>, now: Timestamp) -> Result<(), Error> {
        let refused = || match self.credential {
            CredentialId::Password(_) => Error::InvalidCredentials,
            CredentialId::Session(_) | CredentialId::Token(_) => Error::InvalidToken,
        };
        let Holder { user, scopes, password } = holder.ok_or_else(refused)?;
        let same_password = match (&self.password, &password) {
            (Some(checked), Some(stored)) => checked.matches(TokenHash::of(stored.0.as_bytes()).as_bytes()),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let has_expired = self.expires_at.is_some_and(|end| end <= now);
        if user.id != self.user || user.status != Status::Active || !same_password || has_expired {
            return Err(refused());
        }
        match (user.pending_step(), self.scope) {
            (Some(step), _) if self.completes != Some(step) => Err(Error::StepRequired(step)),
            (_, Some(scope)) if !user.roles.scopes().and(scopes).contains(scope) => Err(Error::Forbidden(scope)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{Method, Roles, Scopes, User};

    const NOW: Timestamp = Timestamp(1_767_225_600_000);

    fn user() -> User {
        let roles = [Roles::DEFAULT].into_iter().collect();
        User { roles, ..User::new(UserId(Uuid::from_u128(1)), "ana".to_owned(), NOW) }
    }

    fn holder(user: User) -> Holder {
        Holder { user, scopes: Scopes::all(), password: Some(PasswordHash("stored".to_owned())) }
    }

    /// A grant of the user with a password, which expires at `expires_at`.
    fn grant(scope: Option<Scope>, completes: Option<Step>, expires_at: Option<Timestamp>) -> Grant {
        let principal = Principal {
            scopes: Scopes::all(),
            user: user(),
            session: None,
            token: None,
            opaque: None,
            method: Method::Basic,
            issued_at: None,
            expires_at,
        };
        Grant::new(&principal, Some(&PasswordHash("stored".to_owned())), scope, completes)
    }

    #[test]
    fn a_grant_holds_while_nothing_that_it_rests_on_has_changed() {
        let any = grant(None, None, None);
        assert!(any.check(Some(holder(user())), NOW).is_ok());
        let other_id = User { id: UserId(Uuid::from_u128(2)), ..user() };
        let disabled = User { status: Status::Disabled, ..user() };
        let other_password = Holder { password: Some(PasswordHash("other".to_owned())), ..holder(user()) };
        let no_password = Holder { password: None, ..holder(user()) };
        for changed in [None, Some(holder(other_id)), Some(holder(disabled)), Some(other_password), Some(no_password)] {
            let what = format!("{changed:?}");
            assert!(matches!(any.check(changed, NOW), Err(Error::InvalidCredentials)), "{what}");
        }
        let until = |end: i64| grant(None, None, Some(Timestamp(NOW.0 + end))).check(Some(holder(user())), NOW).is_ok();
        assert_eq!([-1, 0, 1].map(until), [false, false, true]);
        // Without a password in the grant, that of the user does not matter.
        let session = Grant { password: None, credential: CredentialId::Session(Default::default()), ..any };
        assert!(session.check(Some(holder(user())), NOW).is_ok());
        assert!(matches!(session.check(None, NOW), Err(Error::InvalidToken)));
    }

    #[test]
    fn a_grant_is_for_a_scope_and_for_users_who_have_to_do_nothing_first() {
        let check = |grant: &Grant, holder| match grant.check(Some(holder), NOW) {
            Ok(()) => "holds".to_owned(),
            Err(Error::Forbidden(scope)) => scope.as_str().to_owned(),
            Err(Error::StepRequired(_)) => "first a step".to_owned(),
            Err(error) => panic!("{error}"),
        };
        let profile = grant(Some(Scope::Profile), None, None);
        assert_eq!(check(&profile, holder(user())), "holds");
        assert_eq!(check(&grant(Some(Scope::Admin), None, None), holder(user())), "admin");
        let limited = Holder { scopes: [Scope::UsersRead].into_iter().collect(), ..holder(user()) };
        assert_eq!(check(&profile, limited), "profile");
        let must_change = || holder(User { must_change_password: true, ..user() });
        assert_eq!(check(&profile, must_change()), "first a step");
        let completes = |scope| grant(Some(scope), Some(Step::ChangePassword), None);
        assert_eq!(check(&completes(Scope::Profile), must_change()), "holds");
        assert_eq!(check(&completes(Scope::Admin), must_change()), "admin");
    }
}
