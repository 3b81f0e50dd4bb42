//! Personal access tokens: long-lived credentials that users create for their programs.
//!
//! Rule: the scopes of a token never exceed those of the credential that created it, nor the current ones of its user.
//! It is shown once and stored as a hash. It expires unless its creator says otherwise, and it is revoked with the session
//! that created it when that session turns out to be in two hands. Threats: privilege escalation by a limited token, a
//! stolen list of usable tokens, and a thief who turns a stolen session into a token that outlives it.

use std::time::Duration;

use validator::Validate;

use crate::auth::audit::EVERYONE;
use crate::auth::{Actor, Auth, IdempotentRequest, random};
use crate::error::{Error, FieldError};
use crate::mail::Subject;
use crate::model::pagination::cut_to;
use crate::model::{
    Event, Lifetime, Method, NewToken, PersonalSecret, PersonalToken, Principal, Scopes, SessionId, Status, Timestamp,
    TokenId, User, UserId,
};

/// The most tokens a user may have.
const MAX_TOKENS: usize = 100;

/// The authority that a new token is created with. The token cannot exceed it.
struct Authority {
    user: UserId,
    scopes: Scopes,
    /// The personal token that creates the new one. Revoking it revokes the new one, too.
    parent: Option<TokenId>,
    /// When the parent expires.
    expires_at: Option<Timestamp>,
    /// The session that creates the token. If a copy of its opaque token shows up, the token is revoked with the session.
    session: Option<SessionId>,
}

impl Auth {
    /// Creates a token for the caller. Returns it with its secret, which is shown only once, or the stored response to
    /// the same request. A token that was created with a personal token has no scope that this one lacks, and is
    /// revoked or expires with it.
    pub async fn create_token(
        &self,
        principal: &Principal,
        actor: Actor,
        new: NewToken,
        once: Option<IdempotentRequest>,
    ) -> Result<(PersonalToken, PersonalSecret), Error> {
        let authority = Authority {
            user: principal.user.id,
            scopes: principal.scopes,
            parent: principal.token,
            expires_at: principal.expires_at.filter(|_| principal.method == Method::Personal),
            session: principal.session,
        };
        self.insert_token(authority, actor, new, once).await
    }

    /// Creates a token for a user on behalf of the operator, limited to the scopes of the user's roles. Returns it with
    /// its secret, which is shown only once. [`Error::InvalidToken`] when the user is disabled.
    pub async fn issue_token(&self, user: &User, new: NewToken) -> Result<(PersonalToken, PersonalSecret), Error> {
        let authority =
            Authority { user: user.id, scopes: user.roles.scopes(), parent: None, expires_at: None, session: None };
        self.insert_token(authority, Actor::Operator, new, None).await
    }

    /// A page of the tokens of all users, with the usernames, the newest first, and where the next page begins.
    pub async fn all_tokens(
        &self,
        before: Option<TokenId>,
        limit: u32,
    ) -> Result<(Vec<(PersonalToken, String)>, Option<TokenId>), Error> {
        let mut tokens =
            self.store.read().await?.personal_tokens(before, limit.saturating_add(1), self.clock.now()).await?;
        let more = cut_to(&mut tokens, limit);
        let next = tokens.last().filter(|_| more).map(|(token, _)| token.id);
        Ok((tokens, next))
    }

    async fn insert_token(
        &self,
        authority: Authority,
        actor: Actor,
        new: NewToken,
        once: Option<IdempotentRequest>,
    ) -> Result<(PersonalToken, PersonalSecret), Error> {
        let mut fields = FieldError::all(new.validate());
        let scopes = new.scopes;
        if !scopes.are_within(authority.scopes) {
            let allowed = format!("must be among those that are allowed: {}", authority.scopes);
            fields.push(FieldError::new("scopes", "not-allowed", allowed));
        }
        if !fields.is_empty() {
            return Err(Error::Invalid(fields));
        }
        let now = self.clock.now();
        let wanted = match new.expires_in {
            Some(Lifetime::Seconds(seconds)) => Some(now.after(Duration::from_secs(seconds))),
            Some(Lifetime::Unlimited) => None,
            None => self.settings.tokens.personal_token_ttl.map(|ttl| now.after(ttl)),
        };
        let secret = PersonalSecret::new(random());
        let token = PersonalToken {
            id: TokenId::new(now, random()),
            user_id: authority.user,
            name: new.name,
            scopes,
            created_at: now,
            expires_at: [wanted, authority.expires_at].into_iter().flatten().min(),
            last_used_at: None,
        };
        let (auth, hash) = (self.clone(), secret.hash());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let stored: Option<(PersonalToken, String)> =
                auth.stored_response(&mut tx, actor, once.as_ref(), now).await?;
            if let Some((token, secret)) = stored {
                tx.commit().await?;
                return Ok((token, PersonalSecret::parse(&secret).ok_or(Error::KeyReused)?));
            }
            // The lock keeps two concurrent requests from both creating the hundredth token.
            let owner = match tx.locked_user(token.user_id, None).await {
                Err(Error::NotFound) => None,
                found => Some(found?).filter(|user| user.status == Status::Active),
            };
            let owner = owner.ok_or(Error::InvalidToken)?;
            if tx.personal_tokens_of(token.user_id, now).await?.len() >= MAX_TOKENS {
                return Err(Error::TooManyTokens);
            }
            tx.insert_personal_token(&token, hash, authority.parent, authority.session).await?;
            auth.notify(&mut tx, &owner, actor, Subject::TokenCreated, [("token", token.name.clone())], now).await?;
            auth.store_response(&mut tx, actor, once.as_ref(), &(&token, secret.reveal()), now).await?;
            tx.record(actor.did(Event::TokenCreated, now).on(token.user_id).to(token.id));
            tx.commit().await?;
            Ok((token, secret))
        })
        .await
    }

    /// The tokens of a user that have not expired, the newest first. [`Error::NotFound`] when there is no such user.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<PersonalToken>, Error> {
        let mut conn = self.store.read().await?;
        conn.user(user).await?.ok_or(Error::NotFound)?;
        conn.personal_tokens_of(user, self.clock.now()).await
    }

    /// Revokes a token and those that were created with it. [`Error::NotFound`] when there is no such token, or its
    /// user is not `owner`; without `owner` it may be any user's.
    pub async fn revoke_token(&self, actor: Actor, owner: Option<UserId>, id: TokenId) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let user = match owner {
                Some(owner) => tx.delete_own_personal_token(owner, id).await?.then_some(owner),
                None => tx.delete_personal_token(id).await?,
            };
            if let Some(user) = user {
                tx.record(actor.did(Event::TokenRevoked, now).on(user).to(id));
            }
            tx.commit().await?;
            user.map(drop).ok_or(Error::NotFound)
        })
        .await
    }

    /// Revokes all tokens of a user. Returns how many. [`Error::NotFound`] when there is no such user.
    pub async fn revoke_tokens(&self, actor: Actor, user: UserId) -> Result<usize, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            tx.lock_user(user).await?.ok_or(Error::NotFound)?;
            let revoked = tx.delete_personal_tokens_of(user, None).await?;
            if !revoked.is_empty() {
                tx.record(actor.did(Event::TokenRevoked, now).on(user).concerning(&revoked));
            }
            tx.commit().await?;
            Ok(revoked.len())
        })
        .await
    }

    /// Revokes the tokens of all users. Returns how many.
    pub async fn revoke_all_tokens(&self, actor: Actor) -> Result<u64, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let revoked = tx.delete_all_personal_tokens().await?;
            if revoked > 0 {
                tx.record(actor.did(Event::TokenRevoked, now).to(EVERYONE));
            }
            tx.commit().await?;
            Ok(revoked)
        })
        .await
    }
}
