"""Conversations: OpenAI's /v1/conversations, lists of items that are kept until they are deleted.

Responses that continue a conversation read it with `service.list_context` and add to it with
`service.append`; items are those of `app.wire.items`.
"""
