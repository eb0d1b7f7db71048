// The example against a server that is a function, run by Node.js after it is compiled: the client
// sends what the API asks for and gives what it answers.

import { ApiError, addContact, logIn, openConversations } from './inbox.js';

const asked: { method: string; path: string; clinic: string | null; token: string | null; body: string }[] = [];

const server: typeof globalThis.fetch = async (input, init) => {
  const request = new Request(input, init);
  const url = new URL(request.url);
  asked.push({
    method: request.method,
    path: url.pathname + url.search,
    clinic: request.headers.get('X-Clinic-Id'),
    token: request.headers.get('Authorization'),
    body: await request.text(),
  });
  const answer = (status: number, body: unknown, type = 'application/json') =>
    new Response(JSON.stringify(body), { status, headers: { 'Content-Type': type } });
  if (url.pathname === '/api/v1/auth/login') return answer(200, { accessToken: 'token-1' });
  if (url.pathname === '/api/v1/conversations') {
    return url.searchParams.get('cursor') === 'c1'
      ? answer(200, { data: [{ id: '2' }], nextCursor: null, hasMore: false })
      : answer(200, { data: [{ id: '1' }], nextCursor: 'c1', hasMore: true });
  }
  return answer(
    422,
    { type: '/docs/errors#x', code: 'phone-invalid', title: 'A phone is not valid', status: 422, detail: '' },
    'application/problem+json',
  );
};

function same(found: unknown, expected: unknown): void {
  const [left, right] = [JSON.stringify(found), JSON.stringify(expected)];
  if (left !== right) throw new Error(`found ${left}, expected ${right}`);
}

const client = await logIn('http://acolhe.test', { email: 'a@b.example', password: 'p' }, server);
same(asked[0], {
  method: 'POST',
  path: '/api/v1/auth/login',
  clinic: null,
  token: null,
  body: '{"email":"a@b.example","password":"p"}',
});

const ids: string[] = [];
for await (const conversation of openConversations(client, 'clinic-1')) ids.push(conversation.id);
same(ids, ['1', '2']);
same(
  asked.slice(1).map(({ path, clinic, token }) => [path, clinic, token]),
  [
    ['/api/v1/conversations?status=open&limit=50', 'clinic-1', 'Bearer token-1'],
    ['/api/v1/conversations?status=open&limit=50&cursor=c1', 'clinic-1', 'Bearer token-1'],
  ],
);

let refused: unknown;
try {
  await addContact(client, 'clinic-1', { name: 'Ana' });
} catch (error) {
  refused = error;
}
same(refused instanceof ApiError && refused.problem.code, 'phone-invalid');

// What the types refuse, the API would too.
// @ts-expect-error a contact has a name
void (() => addContact(client, 'clinic-1', {}));
// @ts-expect-error an instant is no field of a new contact
void (() => addContact(client, 'clinic-1', { name: 'Ana', createdAt: 'now' }));
