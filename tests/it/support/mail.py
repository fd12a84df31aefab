"""Sends and fetches with Python's smtplib and poplib.

usage: mail.py send  HOST PORT implicit|starttls|none CA plain|login|plain-challenge FROM TO < message
       mail.py fetch HOST PORT implicit|starttls|none CA user|plain keep|delete
Login and password come from MAIL_LOGIN and MAIL_PASSWORD. `fetch` prints each message as base64.
"""

import base64
import os
import poplib
import smtplib
import ssl
import sys

LOGIN = os.environb[b"MAIL_LOGIN"]
PASSWORD = os.environb[b"MAIL_PASSWORD"]


def encoded(data):
    return base64.b64encode(data).decode()


def context(ca):
    return ssl.create_default_context(cafile=ca)


def send(host, port, tls, ca, mechanism, sender, recipient):
    if tls == "implicit":
        smtp = smtplib.SMTP_SSL(host, int(port), context=context(ca), timeout=30)
    else:
        smtp = smtplib.SMTP(host, int(port), timeout=30)
        if tls == "starttls":
            smtp.starttls(context=context(ca))
    smtp.ehlo()
    answer = authenticate(smtp, mechanism)
    print(*answer)
    if answer[0] != 235:
        sys.exit(1)
    smtp.sendmail(sender, [recipient], sys.stdin.buffer.read())
    smtp.quit()


# smtplib's own login() encodes as ASCII; KIM contexts are UTF-8.
def authenticate(smtp, mechanism):
    plain = encoded(b"\0" + LOGIN + b"\0" + PASSWORD)
    if mechanism == "plain":
        return smtp.docmd("AUTH", "PLAIN " + plain)
    if mechanism == "plain-challenge":
        answer = smtp.docmd("AUTH", "PLAIN")
        return smtp.docmd(plain) if answer[0] == 334 else answer
    answer = smtp.docmd("AUTH", "LOGIN")
    for credential in (LOGIN, PASSWORD):
        if answer[0] != 334:
            break
        answer = smtp.docmd(encoded(credential))
    return answer


def fetch(host, port, tls, ca, mechanism, then):
    if tls == "implicit":
        pop = poplib.POP3_SSL(host, int(port), context=context(ca), timeout=30)
    else:
        pop = poplib.POP3(host, int(port), timeout=30)
        if tls == "starttls":
            pop.stls(context=context(ca))
    if mechanism == "plain":
        pop._shortcmd("AUTH PLAIN " + encoded(b"\0" + LOGIN + b"\0" + PASSWORD))
    else:
        pop.user(LOGIN.decode())
        pop.pass_(PASSWORD.decode())
    count, _ = pop.stat()
    for number in range(1, count + 1):
        lines = pop.retr(number)[1]
        print(encoded(b"".join(line + b"\r\n" for line in lines)))
        if then == "delete":
            pop.dele(number)
    pop.quit()


{"send": send, "fetch": fetch}[sys.argv[1]](*sys.argv[2:])
