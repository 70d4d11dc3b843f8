"""Stored chat completions: kept on request (`store: true`), listed, and made into training files.

The recorder is told each part of an answer before the client gets it, and writes whole answers
together with their requests in the background. Another kind of answer, such as that of OpenAI's
Responses, is stored by the same means: a table beside `stored_completions` with a trigger for the
project's bytes, a capture that recognizes the end of its answer, and a function that saves its row
for the recorder to call.
"""
