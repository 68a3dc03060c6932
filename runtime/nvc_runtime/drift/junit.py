"""JUnit XML for CI servers."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

from nvc_runtime.drift.certification import Certificate


def junit_from_certificates(certificates: list[Certificate]) -> str:
    """One test suite per engine, one test case per check."""
    root = Element("testsuites", name="nvc")
    for certificate in certificates:
        failed = sum(not check.passed for check in certificate.checks)
        suite = SubElement(
            root,
            "testsuite",
            name=certificate.engine,
            tests=str(len(certificate.checks)),
            failures=str(failed),
        )
        for check in certificate.checks:
            case = SubElement(suite, "testcase", classname=certificate.engine, name=check.name)
            if check.passed:
                SubElement(case, "system-out").text = check.detail
            else:
                SubElement(case, "failure", message=check.detail)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"
