//! Personal access tokens: what users give to their programs.
//!
//! Rule: a token may do what it was given, never more than its maker could then nor its owner can now; it is shown once and
//! kept as a hash. Threats: a small token that makes itself a big one, and a list of tokens that is as good as the tokens.

use validator::Validate;

use crate::{
    auth::{Actor, Auth, IdempotentRequest, audit::EVERYONE, random},
    error::{Error, FieldError},
    model::{
        Event, Method, NewToken, PersonalSecret, PersonalToken, Principal, Scopes, Status, Timestamp, TokenId, User,
        UserId,
    },
};

/// The most tokens a user has.
const MAX_TOKENS: usize = 100;

/// What a new token stands on.
struct Ground {
    user: UserId,
    /// The most it may do.
    scopes: Scopes,
    /// The token it is made with and goes with, and when that one runs out.
    parent: Option<TokenId>,
    expires_at: Option<Timestamp>,
}

impl Auth {
    /// Makes a token for the caller. Gives it with its secret, to be shown this once, or what the same request was given
    /// before. One made with a personal token has no scope that one has not, and goes when that one goes.
    pub async fn create_token(
        &self,
        principal: &Principal,
        actor: Actor,
        new: NewToken,
        once: Option<IdempotentRequest>,
    ) -> Result<(PersonalToken, PersonalSecret), Error> {
        let ground = Ground {
            user: principal.user.id,
            scopes: principal.scopes,
            parent: principal.token,
            expires_at: principal.expires_at.filter(|_| principal.method == Method::Personal),
        };
        self.make_token(ground, actor, new, once).await
    }

    /// Makes a token for a user on the operator's word, with no scope that their roles do not allow. Gives it with its
    /// secret, to be shown this once. [`Error::InvalidToken`] when the user is disabled.
    pub async fn issue_token(&self, user: &User, new: NewToken) -> Result<(PersonalToken, PersonalSecret), Error> {
        let ground = Ground { user: user.id, scopes: user.roles.scopes(), parent: None, expires_at: None };
        self.make_token(ground, Actor::Operator, new, None).await
    }

    async fn make_token(
        &self,
        ground: Ground,
        actor: Actor,
        new: NewToken,
        once: Option<IdempotentRequest>,
    ) -> Result<(PersonalToken, PersonalSecret), Error> {
        let mut fields = FieldError::all(new.validate());
        let scopes = new.scopes.unwrap_or(ground.scopes);
        if !scopes.are_within(ground.scopes) {
            let allowed = format!("must be among those that are allowed: {}", ground.scopes);
            fields.push(FieldError::new("scopes", "not-allowed", allowed));
        }
        if !fields.is_empty() {
            return Err(Error::Invalid(fields));
        }
        let now = self.clock.now();
        let wanted = new.expires_in.map(|seconds| now.after(std::time::Duration::from_secs(seconds)));
        let secret = PersonalSecret::new(random());
        let token = PersonalToken {
            id: TokenId::new(now, random()),
            user_id: ground.user,
            name: new.name,
            scopes,
            created_at: now,
            expires_at: [wanted, ground.expires_at].into_iter().flatten().min(),
            last_used_at: None,
        };
        let (auth, hash) = (self.clone(), secret.hash());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            let answered: Option<(PersonalToken, String)> =
                auth.stored_response(&mut tx, actor, once.as_ref(), now).await?;
            if let Some((token, secret)) = answered {
                tx.commit().await?;
                return Ok((token, PersonalSecret::parse(&secret).ok_or(Error::KeyReused)?));
            }
            // Locked, so that two who come at once do not both make the hundredth.
            tx.lock_user(token.user_id).await?.filter(|status| *status == Status::Active).ok_or(Error::InvalidToken)?;
            if tx.personal_tokens_of(token.user_id, now).await?.len() >= MAX_TOKENS {
                return Err(Error::TooManyTokens);
            }
            tx.insert_personal_token(&token, hash, ground.parent).await?;
            auth.store_response(&mut tx, actor, once.as_ref(), &(&token, secret.reveal()), now).await?;
            tx.record(actor.did(Event::TokenCreated, now).on(token.user_id).to(token.id));
            tx.commit().await?;
            Ok((token, secret))
        })
        .await
    }

    /// The tokens of a user that have not run out, the newest first. [`Error::NotFound`] when there is no such user.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<PersonalToken>, Error> {
        let mut conn = self.store.read().await?;
        conn.user(user).await?.ok_or(Error::NotFound)?;
        conn.personal_tokens_of(user, self.clock.now()).await
    }

    /// Revokes a token of this user, or without `owner` of anyone, and the tokens that were made with it. [`Error::NotFound`]
    /// when there is no such token, or it is another user's.
    pub async fn revoke_token(&self, actor: Actor, owner: Option<UserId>, id: TokenId) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
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

    /// Takes back all tokens of a user. Gives how many. [`Error::NotFound`] when there is no such user.
    pub async fn revoke_tokens(&self, actor: Actor, user: UserId) -> Result<usize, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
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

    /// Takes back every token there is. Gives how many.
    pub async fn revoke_all_tokens(&self, actor: Actor) -> Result<u64, Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.store.write().await?;
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
