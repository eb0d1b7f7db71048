// How the client is used: log in, read the inbox of a clinic page by page, create a contact. It is
// compiled by `cargo xtask openapi --client`, so that a change of the API that breaks a caller shows.

import {
  contactCreate,
  conversationList,
  userLogIn,
  type Contact,
  type Conversation,
  type CreateContact,
  type Problem,
} from '../src/index.js';
import { createClient, type Client } from '../src/client/index.js';

/** A failure that the API explained. Decide by `problem.code`. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(`${problem.code}: ${problem.title}`);
  }
}

/** A client that is logged in. Nothing of the password stays. */
export async function logIn(
  baseUrl: string,
  credentials: { email: string; password: string },
  fetch: typeof globalThis.fetch = globalThis.fetch,
): Promise<Client> {
  const anyone = createClient({ baseUrl, fetch });
  const { data, error } = await userLogIn({ client: anyone, body: credentials });
  if (error) throw new ApiError(error);
  return createClient({ baseUrl, fetch, auth: data.accessToken });
}

/** The open conversations of a clinic, newest first, fetched as they are asked for. */
export async function* openConversations(
  client: Client,
  clinicId: string,
): AsyncGenerator<Conversation> {
  let cursor: string | undefined;
  do {
    const { data, error } = await conversationList({
      client,
      headers: { 'X-Clinic-Id': clinicId },
      query: { status: 'open', limit: 50, ...(cursor === undefined ? {} : { cursor }) },
    });
    if (error) throw new ApiError(error);
    yield* data.data;
    cursor = data.hasMore && data.nextCursor ? data.nextCursor : undefined;
  } while (cursor !== undefined);
}

/** A new contact. */
export async function addContact(
  client: Client,
  clinicId: string,
  contact: CreateContact,
): Promise<Contact> {
  const { data, error } = await contactCreate({
    client,
    headers: { 'X-Clinic-Id': clinicId },
    body: contact,
  });
  if (error) throw new ApiError(error);
  return data;
}
